"""Contacts as they were: what training may know at a moment."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from features.contacts import derive
from features.lists import lists_at
from features.state import LISTS_AT, ContactState, ContactView
from features.store import Store
from features.tables import PAIR_TABLES, connected, require
from nextbest.columns import CONTACT_FEATURES, CONTACT_ID, COUNTER_COLUMNS, TIME_COLUMNS, TIMESTAMP
from nextbest.progress import Progress, silent
from nextbest.settings import Settings

CHUNK = 5_000
"""Contacts at a time."""
SERVICE = "next_purchase"


def views_at(
    settings: Settings, at: datetime, contact_ids: Sequence[str] | None = None, progress: Progress = silent
) -> list[ContactView]:
    """Return contacts as they were at `at`, nothing later entering; None: everyone seen by then, by id.

    A contact asked for who was not seen by then has an empty view. Raises NotReady before the first build.
    """
    ids = _seen(settings, at) if contact_ids is None else list(contact_ids)
    store = Store(settings)
    views: list[ContactView] = []
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        views.extend(state.at(at.timestamp()) for state in _states(settings, store, chunk, at))
        progress("snapshots", len(views), len(ids))
    return views


def contact_frame(settings: Settings, service: str, spine: pd.DataFrame) -> pd.DataFrame:
    """Return the spine (contact_id, timestamp) with CONTACT_FEATURES valued at each and TIME_COLUMNS.

    Rows and index are the spine's. Before a contact's first event its counters are 0 and the rest NaN.
    """
    found = Store(settings).historical(service, spine)
    row: dict[str, Any] = {name: found[name].fillna(0.0).to_numpy(np.float64) for name in COUNTER_COLUMNS}
    row |= {name: found[name].to_numpy(np.float64) for name in TIME_COLUMNS}
    moments = pd.to_datetime(spine[TIMESTAMP], utc=True).astype("datetime64[us, UTC]").astype("int64")
    features = derive(row, moments.to_numpy(np.float64) / 1e6)
    columns = {name: features[name] for name in CONTACT_FEATURES} | {name: row[name] for name in TIME_COLUMNS}
    return pd.concat([spine[[CONTACT_ID, TIMESTAMP]], pd.DataFrame(columns, index=spine.index)], axis=1)


def _states(settings: Settings, store: Store, ids: list[str], at: datetime) -> Iterator[ContactState]:
    spine = pd.DataFrame({CONTACT_ID: ids, TIMESTAMP: pd.Timestamp(at)})
    rows: list[dict[str, Any]] = store.historical(SERVICE, spine).to_dict("records")  # type: ignore[assignment]
    with connected(settings.tables) as backend:
        pairs = {name: backend.read_parquet(require(settings, name)) for name in PAIR_TABLES}
        arrays = lists_at(backend, pairs, ids, at)
    for row, lists in zip(rows, arrays, strict=True):
        if pd.isna(row["last_seen"]):
            yield ContactState.empty(row[CONTACT_ID])
        else:
            yield ContactState.from_row(row | lists | {LISTS_AT: at.timestamp()})


def _seen(settings: Settings, at: datetime) -> list[str]:
    with connected(settings.tables) as backend:
        rows = backend.read_parquet(require(settings, "contact"))
        seen = rows.filter(rows.timestamp <= at).select(CONTACT_ID).distinct()
        return sorted(backend.to_pyarrow(seen)[CONTACT_ID].to_pylist())
