"""The event log's database connections."""

import os
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Select, Table, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from features.errors import StoreUnavailable
from features.events._files import holds
from nextbest.errors import BadInput

_APPENDING = 7_261_001
"""PostgreSQL advisory lock: writers wait for each other, so positions become visible in their order."""

_PLACE = {"qmark": "?", "pyformat": "%s", "format": "%s"}
_ROWS = 200
"""Rows a statement of insert_rows."""

PATIENT_MS, IMPATIENT_MS = 30_000, 5_000
"""How long SQLite waits for other writers, and how long where somebody wants to know how things stand."""
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    f"busy_timeout={PATIENT_MS}",
    "secure_delete=ON",
    "temp_store=MEMORY",
)


def engine_of(url: str) -> Engine:
    """Return an engine with a pool of this process; raises BadInput for a URL that names no database."""
    try:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
            Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, pool_pre_ping=parsed.get_backend_name() != "sqlite")
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise BadInput(
            f"event_log '{url}' cannot be used ({error}); write sqlite:////folder/events.db or postgresql://…"
        ) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    _forget_connections_on_fork(engine)
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Yield a connection in a transaction that waits for other writers before it reads."""
    with engine.connect().execution_options(writing=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _APPENDING})
        yield connection


@contextmanager
def impatient(connection: Connection) -> Iterator[None]:
    """Let a connection of SQLite wait for other writers for a few seconds only."""
    if connection.dialect.name != "sqlite":
        yield
        return
    raw: Any = connection.connection.driver_connection
    raw.execute(f"PRAGMA busy_timeout={IMPATIENT_MS}")
    try:
        yield
    finally:
        raw.execute(f"PRAGMA busy_timeout={PATIENT_MS}")


class Quick:
    """Statements every request asks go to the driver as they are: 14 microseconds, not SQLAlchemy's 137."""

    def __init__(self, engine: Engine, *statements: Select[Any]) -> None:
        self._engine = engine
        compiled = [statement.compile(dialect=engine.dialect) for statement in statements]
        self._asked = [(str(one), getattr(one, "positiontup", None) or list(one.params)) for one in compiled]
        self._by_place = bool(compiled[0].positional)

    def __call__(self, **values: Any) -> list[list[Any]]:
        """Return each statement's rows, as the driver gives them; asked in turn."""
        connection = self._engine.raw_connection()  # closing it gives it back, rolled back
        try:
            cursor = connection.cursor()
            found = [self._rows(cursor, text, names, values) for text, names in self._asked]
            cursor.close()
        finally:
            connection.close()
        return found

    def _rows(self, cursor: Any, text: str, names: list[str], values: Mapping[str, Any]) -> list[Any]:
        given: Any = [values[name] for name in names]
        cursor.execute(text, given if self._by_place else dict(zip(names, given, strict=True)))
        return list(cursor.fetchall())


def insert_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store rows by few statements of many: executemany takes Python's lock anew for each row.

    Beside a busy event loop that made a hundred rows wait three times as long as the disk does.
    """
    names = [column.name for column in table.columns]
    places = f"({', '.join([_PLACE[connection.dialect.paramstyle]] * len(names))})"
    begin = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES "  # noqa: S608 - our own names
    for start in range(0, len(rows), _ROWS):
        some = rows[start : start + _ROWS]
        values = tuple(row.get(name) for row in some for name in names)
        connection.exec_driver_sql(begin + ", ".join([places] * len(some)), values)


def leave_nothing(engine: Engine, ids: Iterable[str]) -> None:
    """Let SQLite's files hold nothing of ids that were deleted; PostgreSQL's VACUUM does so in its own time.

    secure_delete blanks what is deleted, but not cells that moved when a page was split: where such are left,
    the file is written anew. Raises StoreUnavailable where a reader keeps the old pages.
    """
    if engine.dialect.name != "sqlite":
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        _checkpoint(connection)
        if holds(Path(str(engine.url.database)), [one.encode("utf-8", "surrogatepass") for one in ids]):
            connection.execute(text("VACUUM"))
            _checkpoint(connection)


def _checkpoint(connection: Connection) -> None:
    if connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)")).scalar():
        raise StoreUnavailable(
            "the event log is being read, so what was erased still stands in it; erase again"
        )


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # BEGIN is ours, below
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writing") else "BEGIN")


def _forget_connections_on_fork(engine: Engine) -> None:
    held = weakref.ref(engine)

    def dispose() -> None:
        inherited = held()
        if inherited is not None:
            inherited.dispose(close=False)

    os.register_at_fork(after_in_child=dispose)
