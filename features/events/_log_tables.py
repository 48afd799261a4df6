"""The event log's tables. Times are UTC microseconds since 1970, so that every database orders them alike."""

from typing import Any

import pyarrow as pa
from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, MetaData, String, Table, Text

from features.events._types import SCHEMAS

METADATA = MetaData()

_POSITION = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite counts up only INTEGER keys."""

TIMES = ("timestamp", "received_at", "created_at")
_KINDS = {
    **dict.fromkeys(TIMES, BigInteger),
    **dict.fromkeys(("quantity", "price"), Double),
    **dict.fromkeys(("properties", "url", "traits"), Text),
}


def _columns(table: str, skip: tuple[str, ...] = ()) -> list[Column[Any]]:
    flags = {f.name for f in SCHEMAS[table] if str(f.type) == "bool"}
    names = [name for name in SCHEMAS[table].names if name not in skip]
    return [Column(name, Boolean if name in flags else _KINDS.get(name, String)) for name in names]


EVENTS = Table(
    "events",
    METADATA,
    Column("position", _POSITION, primary_key=True, autoincrement=False),
    Column("event_id", String, nullable=False, unique=True),
    *_columns("events", skip=("event_id",)),
    Column("lead", Boolean, nullable=False),
    Index("events_contact", "contact_id", "position"),
    Index("events_anonymous", "anonymous_id", "position"),
    Index("events_order", "order_id"),
)
CONTACTS = Table(
    "contacts",
    METADATA,
    Column("contact_id", String, primary_key=True),
    *_columns("contacts", skip=("contact_id",)),
    Column("said_at", Text),  # JSON: column or trait -> when it was said, so that a late word does not win
)
LINKS = Table(
    "links",
    METADATA,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    *_columns("identities"),
    Index("links_anonymous", "anonymous_id"),
    Index("links_contact", "contact_id"),
)
"""Only added to: what a build had counted up to a position can be told afterwards."""
DECISIONS = Table(
    "decisions",
    METADATA,
    Column("decision_id", String, primary_key=True),
    Column("timestamp", BigInteger, nullable=False),
    Column("kind", String, nullable=False),
    Column("contact_id", String),
    Column("anonymous_id", String),
    Column("placement", String),
    Column("campaign_id", String),
    Column("shown", Text, nullable=False),
    Column("source", String),
    Column("model_version", String),
    Column("fallback", String),
    Column("properties", Text),  # whatever else the row held, as JSON
    Index("decisions_shown", "contact_id", "placement", "timestamp"),
    Index("decisions_time", "timestamp"),
)
DECISION_SCHEMA = pa.schema(
    [(c.name, pa.timestamp("us", tz="UTC") if c.name in TIMES else pa.string()) for c in DECISIONS.columns]
)
"""Decisions as Arrow; `shown` ([[item, propensity, source], …], best first) and `properties` are JSON."""
TRIGGER_STATES = Table(
    "trigger_states",
    METADATA,
    Column("contact_id", String, primary_key=True),
    Column("states", Text, nullable=False),  # JSON: rule -> value it was last seen at
    Column("position", BigInteger, nullable=False),  # of the log, when the contact was looked at
    Column("since", BigInteger, nullable=False),
)
"""One row a contact, not one a rule: a million contacts and seven rules are read in seconds."""
TRIGGERS = Table(
    "triggers",
    METADATA,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("id", String, nullable=False, unique=True),
    Column("timestamp", BigInteger, nullable=False),
    Column("contact_id", String, nullable=False),
    Column("rule", String, nullable=False),
    Column("before", String),
    Column("after", String, nullable=False),
    Column("facts", Text, nullable=False),  # JSON: column -> value
    Index("triggers_contact", "contact_id", "rule"),
    Index("triggers_time", "timestamp"),
)
DELIVERIES = Table(
    "deliveries",
    METADATA,
    Column("endpoint", String, primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("contact_id", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Index("deliveries_contact", "contact_id", "endpoint", "position"),
)
"""What is still to be sent where; a row goes when it was delivered or given up."""
TRIGGER_TABLES = (DELIVERIES, TRIGGERS, TRIGGER_STATES)
FACTS = Table(
    "facts", METADATA, Column("name", String, primary_key=True), Column("value", String, nullable=False)
)
"""`log_id`: which log this is, so that a lake notices when it is fed from another."""
COUNTERS = Table(
    "counters",
    METADATA,
    Column("name", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
"""`position`: the last that was given out, to an event or a link."""
