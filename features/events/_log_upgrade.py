"""What an event log needs to be as this version writes it."""

from typing import Any

from sqlalchemy import Connection, func, insert, inspect, select, text

from features.events._log_tables import CONTACTS, COUNTERS, DECISIONS, EVENTS, LINKS, METADATA

POSITION = "position"


def upgrade(connection: Connection) -> None:
    """Create what is missing, and bring a log of an earlier version over; doing it again changes nothing."""
    METADATA.create_all(connection)
    for index in DECISIONS.indexes:  # a log from before may lack one
        index.create(connection, checkfirst=True)
    if connection.scalar(select(COUNTERS.c.value).where(COUNTERS.c.name == POSITION)) is not None:
        return
    last = int(connection.scalar(select(func.coalesce(func.max(EVENTS.c.position), 0))) or 0)
    tables = inspect(connection).get_table_names()
    if "sqlite_sequence" in tables or connection.dialect.name == "sqlite":
        last = max(last, _sqlite_last(connection))
    if "said_at" not in {column["name"] for column in inspect(connection).get_columns(CONTACTS.name)}:
        connection.execute(text("ALTER TABLE contacts ADD COLUMN said_at TEXT"))
    if "identities" in tables:
        last = _bring_links(connection, last)
    connection.execute(insert(COUNTERS), {"name": POSITION, "value": last})


def _sqlite_last(connection: Connection) -> int:
    """Return the last position SQLite itself gave out, of an event that may have been erased since."""
    kept = connection.scalar(text("SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_sequence'"))
    if not kept:
        return 0
    query = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'"
    return int(connection.scalar(text(query)) or 0)


def _bring_links(connection: Connection, last: int) -> int:
    query = text("SELECT anonymous_id, contact_id, timestamp FROM identities ORDER BY anonymous_id")
    rows: list[dict[str, Any]] = [
        {"anonymous_id": a, "contact_id": c, "timestamp": t or 0, "alias": False, "position": last + n}
        for n, (a, c, t) in enumerate(connection.execute(query).all(), 1)
    ]
    if rows:
        connection.execute(insert(LINKS), rows)
    connection.execute(text("DROP TABLE identities"))
    return last + len(rows)
