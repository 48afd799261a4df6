"""Any table of orders or events: CSV of any dialect, or Parquet, with a mapping of its columns.

A line with a negative quantity or amount, or a set refund column, is a refund. A line without a contact but
with an order is kept as a visit: anonymous_id "order:<order_id>". Without an order column, the lines of a
contact on one day are one order. Lines of one order share its earliest time. Rows alike in every cell are one
row. Columns that are not mapped are not stored: they may hold addresses.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.events import _duck
from features.events._types import to_frame
from features.events.importers._delimited import LINE, RAGGED, Staged, stage
from features.events.importers._numbers import decimal_mark, digits_of, values_of
from features.events.importers._table_sql import CREATE_LINES, CREATE_ORDERS, ITEMS, STREAM, columns_sql
from features.events.importers._times import read_times
from features.events.importers.base import Batch, Chunk, Request
from nextbest.errors import BadInput

NAME = "a CSV or Parquet file with --map"
NUMBERS = ("quantity", "price", "amount")
KEYS = (
    "contact_id", "anonymous_id", "order_id", "item_id", "timestamp", *NUMBERS, "event", "event_id",
    "currency", "channel", "campaign_id", "message_id", "url", "title", "category", "brand", "refund",
)  # fmt: skip
_SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
_ROWS = 100_000


def accepts(request: Request) -> bool:
    """Say whether the source is a file that is read by a mapping."""
    return request.source.lower().endswith(_SUFFIXES) or bool(request.mapping)


def read(request: Request) -> Batch:
    """Read and understand the whole file, without storing any of it. Raises BadInput for a wrong mapping."""
    if request.table != "events":
        raise BadInput(f"--table {request.table} takes a Parquet file with canonical columns")
    path = Path(request.source)
    staged = _staged(path, request)
    mapping = _checked(path, staged.columns, request.mapping)
    connection = _duck.connect(request.workspace, str(request.workspace / "table.duckdb"))
    notes = _understand(connection, staged, mapping)
    connection.execute(CREATE_LINES.format(**columns_sql(staged, mapping)))
    connection.execute(CREATE_ORDERS)
    last = connection.execute("SELECT max(moment) FROM lines").fetchall()[0][0]
    return Batch(
        source=path.name,
        rows=staged.rows,
        last=last,
        events=lambda shift: _events(connection, staged, shift),
        tables=_tables(connection),
        notes=(*staged.notes, *notes),
    )


def _staged(path: Path, request: Request) -> Staged:
    if not path.name.lower().endswith(".parquet"):
        return stage(path, list((request.mapping or {}).values()), request.workspace, request.progress)
    names, target = pq.read_schema(path).names, request.workspace / "rows.parquet"
    cells = ", ".join(f"CAST({_quoted(name)} AS VARCHAR) AS c{n}" for n, name in enumerate(names))
    columns = f"row_number() OVER () AS {LINE}, {cells}, CAST(NULL AS VARCHAR) AS {RAGGED}"
    with _duck.connect(request.workspace) as connection:
        query = _duck.select(columns, [path])
        connection.execute(f"COPY ({query}) TO {_duck.quoted(target)} (FORMAT parquet)")
    return Staged(target, names, pq.read_metadata(path).num_rows)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _checked(path: Path, columns: list[str], given: Mapping[str, str] | None) -> dict[str, str]:
    """Return canonical key -> c0, c1, …; raises BadInput naming what exists and the closest match."""
    known = {name: f"c{n}" for n, name in reversed(list(enumerate(columns)))}
    if not given:
        given = {key: key for key in KEYS if key in known}
        if not {"timestamp"} <= set(given):
            raise BadInput(
                f"{path.name} needs --map: which of its columns ({', '.join(columns)}) "
                "are contact_id, order_id, item_id, timestamp, quantity, price? "
                "For example --map contact_id=CustomerID,timestamp=Date"
            )
    for key, column in given.items():
        if key not in KEYS:
            raise BadInput(f"--map knows no '{key}'{_closest(key, KEYS)}; it knows: {', '.join(KEYS)}")
        if column not in known:
            raise BadInput(
                f"{path.name} has no column '{column}'{_closest(column, columns)}; "
                f"it has: {', '.join(columns)}"
            )
    _check_keys(set(given))
    return {key: known[column] for key, column in given.items()}


def _closest(name: str, names: list[str] | tuple[str, ...]) -> str:
    folded = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(name.lower(), folded, 1)
    return f" (did you mean '{folded[close[0]]}'?)" if close else ""


def _check_keys(keys: set[str]) -> None:
    if "timestamp" not in keys:
        raise BadInput("--map needs timestamp=COLUMN")
    if not keys & {"contact_id", "anonymous_id", "order_id"}:
        raise BadInput("--map needs contact_id=COLUMN (or anonymous_id, or order_id)")
    if "event" not in keys and "item_id" not in keys:
        raise BadInput("--map needs item_id=COLUMN for order lines, or event=COLUMN for other events")
    if {"price", "amount"} <= keys:
        raise BadInput("--map takes price (of one) or amount (of the line), not both")


def _understand(
    connection: duckdb.DuckDBPyConnection, staged: Staged, mapping: Mapping[str, str]
) -> list[str]:
    """Read the distinct times and numbers into tables read_<key>; returns what to tell."""

    def texts(key: str) -> str:
        return _duck.select(f"{mapping[key]} AS text", [staged.path])

    notes = [read_times(connection, "read_timestamp", texts("timestamp"))]
    numbers = [key for key in NUMBERS if key in mapping]
    for key in numbers:
        digits_of(connection, f"read_{key}", texts(key))
    mark, votes = decimal_mark(connection, [f"read_{key}" for key in numbers])
    for key in numbers:
        values_of(connection, f"read_{key}", mark)
    notes.append(f"numbers have a decimal comma ({votes} distinct ones show it)" if votes else None)
    for key, value in [("timestamp", "moment"), *((key, "value") for key in numbers)]:
        _check_readable(connection, key, value, staged.columns[int(mapping[key][1:])])
    return [note for note in notes if note]


def _check_readable(connection: duckdb.DuckDBPyConnection, key: str, value: str, column: str) -> None:
    query = f"SELECT count(*), count({value}), list(text)[:3] FROM read_{key}"  # noqa: S608  names of ours
    texts, readable, examples = connection.execute(query).fetchall()[0]
    if not readable and (texts or key == "timestamp"):
        what = "times" if key == "timestamp" else "numbers"
        shown = ", ".join(f"'{text}'" for text in examples or ()) or "only empty cells"
        raise BadInput(f"column '{column}', mapped to {key}, holds no {what}: {shown}")


def _events(connection: duckdb.DuckDBPyConnection, staged: Staged, shift: timedelta) -> Iterator[Chunk]:
    rows = _Rows(connection, staged)
    for batch in connection.cursor().sql(STREAM, params={"shift": shift}).to_arrow_reader(_ROWS):
        frame = to_frame(pa.table(batch)).set_index(LINE)
        yield Chunk(frame.drop(columns="reason"), rows, frame["reason"].fillna("").astype(object))


@dataclass(frozen=True)
class _Rows:
    """The file's own rows by line, for the reject file."""

    connection: duckdb.DuckDBPyConnection
    staged: Staged

    def __call__(self, lines: pd.Index) -> pd.DataFrame:
        cells = ", ".join([LINE, *(f"c{n}" for n in range(len(self.staged.columns)))])
        query = _duck.select(cells, [self.staged.path])
        span = f" WHERE {LINE} BETWEEN {int(lines.min())} AND {int(lines.max())}"
        frame = to_frame(self.connection.cursor().sql(query + span).to_arrow_table()).set_index(LINE)
        return frame.loc[lines].set_axis(self.staged.columns, axis=1)


def _tables(connection: duckdb.DuckDBPyConnection) -> dict[str, pd.DataFrame]:
    items = to_frame(connection.sql(ITEMS).to_arrow_table())
    contacts = (
        "SELECT DISTINCT contact_id FROM lines WHERE contact_id IS NOT NULL AND reason IS NULL ORDER BY 1"
    )
    return {"items": items, "contacts": to_frame(connection.sql(contacts).to_arrow_table())}
