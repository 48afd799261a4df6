"""Making the table of tags out of a build's events and the lake."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features import _tags_habits as habits
from features import _tags_sql as sql
from features._tags_sources import source_class
from features.events import _duck
from nextbest.columns import CONTACT_ID, COUNTERS, MESSAGE_SENT, ORDER_REFUNDED

WEIGHTS = {
    **dict.fromkeys(COUNTERS["views"], 1.0), **dict.fromkeys(COUNTERS["carts"], 3.0),
    **dict.fromkeys(COUNTERS["lines"], 5.0),
}  # fmt: skip
"""What an event adds to the interest in its item's category; half after HALF_LIFE days."""
HALF_LIFE = 90.0
FAINT = 0.25
"""Weight below which an interest is no tag any more: one view after half a year, a purchase after a year."""
INTERESTS = 10
VISIT = 1_800.0
"""Seconds of silence after which a page is another visit's."""
ACTS = tuple({name for names in COUNTERS.values() for name in names} - {MESSAGE_SENT, ORDER_REFUNDED})
"""Events that tell that somebody was there."""
WEB = (
    "page_viewed",
    "product_viewed",
    "product_clicked",
    "cart_viewed",
    "products_searched",
    "message_clicked",
)
"""Events a visit may begin with."""
_NOTHING = "SELECT NULL::VARCHAR AS event_id, NULL::VARCHAR AS url, NULL::VARCHAR AS properties WHERE false"
ROWS = 20_000
"""Contacts a row group: few are read for one contact."""
_TEXT, _NUMBER, _WHOLE, _MOMENT = pa.string(), pa.float64(), pa.int64(), pa.timestamp("us", "UTC")
SCHEMA = pa.schema({
    CONTACT_ID: _TEXT, "source": _TEXT, "source_at": _MOMENT, "last_source": _TEXT, "last_source_at": _MOMENT,
    "visits": _WHOLE, "language": _TEXT, "language_share": _NUMBER, "language_evidence": _WHOLE,
    "device": _TEXT, "device_share": _NUMBER, "device_evidence": _WHOLE, "interest_names": pa.list_(_TEXT),
    "interest_strengths": pa.list_(_NUMBER), "interest_evidence": pa.list_(_WHOLE), "timezone": _TEXT,
    "hours": pa.list_(_TEXT), "hours_share": _NUMBER, "hours_evidence": _WHOLE,
    "weekdays": pa.list_(_TEXT), "weekdays_share": _NUMBER, "weekdays_evidence": _WHOLE,
})  # fmt: skip


def write_tags(
    staging: Path, events: Sequence[Path], contacts: pd.DataFrame, now: datetime, path: Path
) -> int:
    """Write the table; returns its rows.

    staging: a build's folder with `known.parquet` (features._known). events: the lake's day files. contacts:
    contact_id and timezone.
    """
    with _duck.connect(staging) as connection:
        _prepare(connection, staging / "known.parquet", events, contacts, now)
        parts = [_sources(connection), _modes(connection), _interests(connection), _clock(connection)]
    frame = pd.concat(parts, axis=1).sort_index().rename_axis(CONTACT_ID).reset_index()
    kinds = {field.name: "Int64" for field in SCHEMA if field.type == pa.int64()}
    kinds |= {field.name: "object" for field in SCHEMA if pa.types.is_list(field.type)}
    table = pa.Table.from_pandas(frame[SCHEMA.names].astype(kinds), schema=SCHEMA, preserve_index=False)
    pq.write_table(table, path, row_group_size=ROWS)
    return len(table)


def _prepare(
    connection: duckdb.DuckDBPyConnection,
    known: Path,
    events: Sequence[Path],
    contacts: pd.DataFrame,
    now: datetime,
) -> None:
    """Make what features._tags_sql reads: events up to now, whose they are, and what the web says of them."""
    stored = _duck.select("event_id, url, properties", list(events)) if events else _NOTHING
    connection.execute("CREATE TABLE present AS SELECT $now::TIMESTAMPTZ AS now", {"now": now})
    connection.execute(f"CREATE VIEW lake AS {stored}")
    mine = "WHERE contact_id IS NOT NULL AND timestamp <= (SELECT now FROM present)"
    connection.execute(f"CREATE VIEW known AS {_duck.select('*', [known])} {mine}")
    zones = contacts[[CONTACT_ID, "timezone"]].dropna()
    schema = pa.schema([(name, pa.string()) for name in zones.columns])
    connection.register("contacts", pa.Table.from_pandas(zones, schema, preserve_index=False))
    connection.execute(sql.TOLD)
    connection.execute(sql.ZONES)


def _sources(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Return the class of the first and of the last visit's origin, and the number of visits."""
    connection.execute(sql.VISITS, {"web": list(WEB), "silence": VISIT})
    query = "SELECT DISTINCT source, medium, paid, referrer, channel FROM visits"
    kinds = connection.sql(query).to_arrow_table()
    classes = [source_class(**row) for row in kinds.to_pylist()]
    connection.register("kinds", kinds.append_column("class", pa.array(classes, pa.string())))
    return connection.sql(sql.ENTRIES).df().set_index(CONTACT_ID)


def _modes(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Return each contact's most frequent language and device, with share and evidence."""
    parts = [
        connection.sql(sql.MODE.format(name=name)).df().set_index(CONTACT_ID)
        for name in ("language", "device")
    ]
    return parts[0].join(parts[1], how="outer")


def _interests(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Return the strongest interests of each contact."""
    connection.register("weights", pd.DataFrame({"event": list(WEIGHTS), "weight": list(WEIGHTS.values())}))
    values = {"half_life": HALF_LIFE * 86_400, "faint": FAINT, "most": INTERESTS}
    return connection.sql(sql.INTERESTS, params=values).df().set_index(CONTACT_ID)


def _clock(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Return the habitual hours and weekdays of each contact in local time, and whose zone that is."""
    active = connection.sql(sql.ACTIVE, params={"acts": list(ACTS)}).df()
    owner, ids = pd.factorize(active[CONTACT_ID])
    per_hour, per_day = np.zeros((len(ids), habits.HOURS)), np.zeros((len(ids), habits.DAYS))
    np.add.at(per_hour, (owner, active["hour"].to_numpy(np.int64)), active["hours"].to_numpy(np.float64))
    np.add.at(per_day, (owner, active["weekday"].to_numpy(np.int64)), active["days"].to_numpy(np.float64))
    per_day = np.round(per_day)
    columns: dict[str, Any] = {}
    for name, found in (("hours", habits.hours(per_hour)), ("weekdays", habits.weekdays(per_day))):
        columns |= {name: found.names, f"{name}_share": found.share, f"{name}_evidence": found.evidence}
    frame = pd.DataFrame(columns, index=pd.Index(ids, name=CONTACT_ID))
    zones = connection.sql("SELECT contact_id, timezone FROM zones").df().set_index(CONTACT_ID)
    return frame.join(zones)
