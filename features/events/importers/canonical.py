"""Parquet that is canonical already: events, items, contacts or identities under their own column names."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.events import _duck
from features.events._types import coerce, to_frame
from features.events.importers.base import Batch, Chunk, Request
from nextbest.columns import ANONYMOUS_ID, CONTACT_ID, EVENT, TIMESTAMP
from nextbest.errors import BadInput

NAME = "a Parquet file with canonical columns"
_ROWS = 200_000
_NEEDED = {
    "events": (EVENT, TIMESTAMP),
    "items": ("item_id",),
    "contacts": (CONTACT_ID,),
    "identities": (ANONYMOUS_ID, CONTACT_ID),
}


def accepts(request: Request) -> bool:
    """Say whether the source is a Parquet file without a mapping."""
    return request.source.endswith(".parquet") and not request.mapping


def read(request: Request) -> Batch:
    """Open the file. Raises BadInput where needed columns are missing."""
    path = Path(request.source)
    try:
        columns = pq.read_schema(path).names
    except pa.ArrowInvalid as error:
        raise BadInput(f"{path} is not a Parquet file: {error}") from None
    _check(path, columns, request.table)
    if request.table != "events":
        frame = to_frame(pq.read_table(path))
        return Batch(path.name, len(frame), None, tables={request.table: frame})
    rows = pq.read_metadata(path).num_rows
    return Batch(path.name, rows, _last(path, request), lambda shift: _events(path, request, shift))


def _check(path: Path, columns: list[str], table: str) -> None:
    missing = [name for name in _NEEDED[table] if name not in columns]
    if table == "events" and not {CONTACT_ID, ANONYMOUS_ID} & set(columns):
        missing.append(f"{CONTACT_ID} or {ANONYMOUS_ID}")
    if missing:
        raise BadInput(
            f"{path.name} lacks {', '.join(missing)} of canonical {table}; it has: {', '.join(columns)}. "
            "If these are under other names, say so: --map contact_id=THEIRS,timestamp=THEIRS,…"
        )


def _last(path: Path, request: Request) -> datetime | None:
    with _duck.connect(request.workspace) as connection:
        query = _duck.select(f"max(TRY_CAST({TIMESTAMP} AS TIMESTAMPTZ))", [path])
        last: datetime | None = connection.execute(query).fetchall()[0][0]
    return last


def _events(path: Path, request: Request, shift: timedelta) -> Iterator[Chunk]:
    """Rows without an event_id get one that follows from their content, so that they too are stored once."""
    with _duck.connect(request.workspace) as connection:
        digest = "md5(CAST(to_json(line) AS VARCHAR))"
        if "event_id" in pq.read_schema(path).names:
            columns = f"* REPLACE (COALESCE(CAST(event_id AS VARCHAR), {digest}) AS event_id)"
        else:
            columns = f"*, {digest} AS event_id"
        for batch in connection.sql(_duck.select(columns, [path]) + " AS line").to_arrow_reader(_ROWS):
            frame = to_frame(pa.table(batch))
            yield Chunk(frame if not shift else _moved(frame, shift))


def _moved(frame: pd.DataFrame, shift: timedelta) -> pd.DataFrame:
    typed, _ = coerce(frame[[TIMESTAMP]], "events")
    moved = typed[TIMESTAMP] + shift
    return frame.assign(**{TIMESTAMP: moved.where(moved.notna(), frame[TIMESTAMP])})
