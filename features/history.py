"""Contacts as they were at the ends of months: all of them at one moment, or one through every month.

Read from the contact table as the last build left it, nothing later than the moment entering. What happened
since the build is in no row here; a card that folds it in puts its own present at the end.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from features.contacts import derive
from features.events.lake import Lake
from features.tables import connected, require
from nextbest.columns import CONTACT_FEATURES, CONTACT_ID, COUNTER_COLUMNS, TIME_COLUMNS, TIMESTAMP
from nextbest.settings import Settings

TOUCHES = {
    "order": ("orders",),
    "form": ("forms",),
    "message answered": ("clicks", "opens"),
    "visit": ("carts", "views", "pages", "searches"),
    "message sent": ("sent",),
}
"""What a contact may be first seen by -> its counters; of several at one moment, the one named first."""
STORED = (CONTACT_ID, TIMESTAMP, *COUNTER_COLUMNS, *TIME_COLUMNS)


def month_ends(first: datetime, last: datetime) -> list[datetime]:
    """Return the last microsecond (UTC) of each month that ends in first <= moment < last, oldest first."""
    starts = pd.date_range(first.astimezone(UTC), last.astimezone(UTC), freq="MS", normalize=True)
    ends = [(start - pd.Timedelta(microseconds=1)).to_pydatetime() for start in starts]
    return [end for end in ends if first <= end < last]


def last_months(now: datetime, months: int) -> list[datetime]:
    """Return the ends of the last so many months, oldest first, and `now`."""
    since = pd.Timestamp(now).tz_convert("UTC").normalize().replace(day=1) - pd.DateOffset(months=months)
    return [*month_ends(since.to_pydatetime(), now)[-months:], now] if months else [now]


def known_until(settings: Settings, now: datetime) -> datetime:
    """Return `now`, or the moment of the last event where the data end before."""
    span = Lake(settings.lake).span()
    return now if span is None else min(now, span[1])


def contacts_at(settings: Settings, at: datetime) -> pd.DataFrame:
    """Return everyone seen by `at`, by id: contact_id, timestamp (`at`), CONTACT_FEATURES, TIME_COLUMNS.

    Index 0 … n-1. Raises NotReady before the first build.
    """
    with connected(settings.tables) as backend:
        rows = backend.read_parquet(require(settings, "contact")).select(*STORED)
        past = rows.filter(rows[TIMESTAMP] <= ibis.literal(at))
        latest = past.group_by(CONTACT_ID).aggregate(**{TIMESTAMP: past[TIMESTAMP].max()})
        found = backend.to_pyarrow(past.semi_join(latest, [CONTACT_ID, TIMESTAMP])).to_pandas()
    found = found.sort_values(CONTACT_ID, ignore_index=True)
    return _valued(found, np.full(len(found), at.timestamp()), [pd.Timestamp(at)] * len(found))


def first_touches(settings: Settings, at: datetime) -> "pd.Series[str]":
    """Return contact_id -> what everyone seen by `at` was first seen by: a name of TOUCHES, or "other"."""
    counters = [f"{counter}_total" for names in TOUCHES.values() for counter in names]
    with connected(settings.tables) as backend:
        rows = backend.read_parquet(require(settings, "contact")).select(CONTACT_ID, TIMESTAMP, *counters)
        past = rows.filter(rows[TIMESTAMP] <= ibis.literal(at))
        first = past.group_by(CONTACT_ID).aggregate(**{TIMESTAMP: past[TIMESTAMP].min()})
        found = backend.to_pyarrow(past.semi_join(first, [CONTACT_ID, TIMESTAMP])).to_pandas()
    done = [
        (found[[f"{counter}_total" for counter in names]].to_numpy(np.float64) > 0).any(axis=1)
        for names in TOUCHES.values()
    ]
    kinds = np.select(
        done, [np.array(name, dtype=object) for name in TOUCHES], np.array("other", dtype=object)
    )
    return pd.Series(kinds, index=pd.Index(found[CONTACT_ID], dtype=object), name="touch")


def history_of(settings: Settings, contact_id: str, now: datetime, months: int | None = None) -> pd.DataFrame:
    """Return one contact at the end of each month since it was first seen, and at `now`, oldest first.

    Columns as contacts_at; no rows for somebody not seen by then. `months`: only the last so many ends. Reads
    the row groups of the contact alone. Raises NotReady before the first build.
    """
    path = require(settings, "contact")
    found = pq.read_table(path, columns=list(STORED), filters=[(CONTACT_ID, "=", contact_id)]).to_pandas()
    found = found.sort_values(TIMESTAMP, ignore_index=True)
    times = found[TIMESTAMP].astype("datetime64[us, UTC]")
    if not len(found) or times.iloc[0] > now:
        return _valued(found.head(0), np.empty(0), [])
    ends = month_ends(times.iloc[0].to_pydatetime(), now)
    moments = [*(ends if months is None else ends[max(len(ends) - months, 0) :]), now]
    return _rows_at(found, times, moments)


def _rows_at(found: pd.DataFrame, times: "pd.Series[Any]", moments: Sequence[datetime]) -> pd.DataFrame:
    """Value, at each moment, the last row up to it."""
    stamps = pd.DatetimeIndex([pd.Timestamp(moment).tz_convert("UTC") for moment in moments])
    place = np.searchsorted(times.to_numpy("datetime64[us]"), stamps.to_numpy("datetime64[us]"), side="right")
    seconds = np.array([moment.timestamp() for moment in moments])
    return _valued(found.iloc[place - 1].reset_index(drop=True), seconds, list(stamps))


def _valued(
    rows: pd.DataFrame, seconds: "np.ndarray[Any, Any]", stamps: Sequence[pd.Timestamp]
) -> pd.DataFrame:
    """Return the stored rows with every feature valued at its moment (epoch seconds, and as a time)."""
    row = {name: rows[name].to_numpy(np.float64) for name in (*COUNTER_COLUMNS, *TIME_COLUMNS)}
    features = derive(row, seconds)
    columns: dict[str, Any] = {
        CONTACT_ID: rows[CONTACT_ID].to_numpy(object),
        TIMESTAMP: pd.DatetimeIndex(list(stamps), dtype="datetime64[us, UTC]"),
    }
    columns |= {name: features[name] for name in CONTACT_FEATURES} | {
        name: row[name] for name in TIME_COLUMNS
    }
    return pd.DataFrame(columns)
