"""Where contacts stand with the trigger rules, and what fired: an outbox in the event log's database.

A contact's states are one text, which is changed from what was read to what follows from it, together with
the events that follow, in one transaction: whoever comes second finds another text and fires nothing. So two
workers, a sweep done again, or a process killed anywhere leave each event exactly once.
"""

import json
import time
import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from features.events._log_engine import engine_of, insert_rows, writing
from features.events._log_rows import micros, moment, pieces
from features.events._log_tables import (
    CONTACTS,
    COUNTERS,
    DELIVERIES,
    EVENTS,
    LINKS,
    TRIGGER_STATES,
    TRIGGERS,
)
from features.events._log_upgrade import POSITION, upgrade

_TOGETHER = 2_000
"""Changes in one transaction: whoever brings events waits for it."""
_LONGEST_PAUSE = 0.1
"""Seconds between two such transactions."""
_ERASED, _GIVEN = "erased", "trigger_position"
_T, _S = TRIGGERS.c, TRIGGER_STATES.c
LOOKED, SWEPT, BUILD = "triggers_looked", "triggers_swept", "triggers_build"
"""Marks: position up to which news was looked at; moment everyone was; the feature tables they were of."""


@dataclass(frozen=True)
class Firing:
    """A rule's firing for a contact: the value before and after, and the columns it carries."""

    rule: str
    before: str | None
    after: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """A contact's states as they were read (None: never seen) and as they are to be, with what fires."""

    contact_id: str
    before: str | None
    after: str
    firings: tuple[Firing, ...] = ()


@dataclass(frozen=True)
class Basis:
    """How the log stood before contacts were looked at: what is newer must not be overwritten by it."""

    position: int
    erasures: int


@dataclass(frozen=True)
class Stored:
    """Contacts changed, firings by rule, and the contacts that another changed meanwhile: look again."""

    changed: int
    fired: Counter[str]
    again: list[str]


class TriggerLog:
    """States, events and what is to be delivered; safe for several threads and processes."""

    def __init__(self, url: str) -> None:
        self.engine: Engine = engine_of(url)
        with writing(self.engine) as connection:
            upgrade(connection)

    def close(self) -> None:
        """Close the pool's connections."""
        self.engine.dispose()

    # --- states

    def basis(self) -> Basis:
        """Return how the log stands; to be asked before the contacts are read."""
        with self.engine.connect() as connection:
            return Basis(_counter(connection, POSITION), _counter(connection, _ERASED))

    def states(self, contact_ids: Sequence[str]) -> dict[str, str]:
        """Return the states, as JSON text, of the contacts that were seen before."""
        with self.engine.connect() as connection:
            return {row.contact_id: row.states for row in _held(connection, contact_ids)}

    def store(
        self,
        changes: Sequence[Change],
        basis: Basis,
        now: datetime,
        endpoints: Sequence[str] = (),
        cooldowns: Mapping[str, int] | None = None,
    ) -> Stored:
        """Store the changes whose contacts are still as they were read, and what fires, for each endpoint.

        `cooldowns`: rule -> microseconds after a firing within which it does not fire for the contact again.
        """
        stored, seconds = Stored(0, Counter(), []), 0.0
        for piece in pieces(changes, _TOGETHER):
            time.sleep(seconds)  # as long as it took: others have to write, too
            begun = time.perf_counter()
            with writing(self.engine) as connection:
                taken, again = _still_so(connection, piece, basis)
                _write_states(connection, taken, basis.position, _micros(now))
                firings = _rested(connection, taken, _micros(now), cooldowns or {})
                _write_firings(connection, firings, _micros(now), endpoints)
            seconds = min(time.perf_counter() - begun, _LONGEST_PAUSE)
            fired = stored.fired + Counter(firing.rule for _, firing in firings)
            stored = Stored(stored.changed + len(taken), fired, stored.again + again)
        return stored

    def contacts_among(self, ids: Sequence[str]) -> set[str]:
        """Return the ids by which the log names a contact; others are visitors'."""
        found: set[str] = set()
        with self.engine.connect() as connection:
            for piece in pieces(ids):
                for column in (EVENTS.c.contact_id, CONTACTS.c.contact_id, LINKS.c.contact_id):
                    found |= set(connection.scalars(select(column).distinct().where(column.in_(piece))))
        return found

    # --- events

    def page(
        self, since: int | datetime = 0, limit: int = 100, rule: str | None = None
    ) -> tuple[list[dict[str, Any]], int]:
        """Return what fired after a position or from a moment on, in order, and where to go on from."""
        query = select(TRIGGERS).order_by(_T.position).limit(limit)
        after = since if isinstance(since, int) else 0
        query = query.where(_T.position > after)
        if isinstance(since, datetime):
            query = query.where(_T.timestamp >= _micros(since))
        if rule is not None:
            query = query.where(_T.rule == rule)
        with self.engine.connect() as connection:
            last = _counter(connection, _GIVEN)  # first: what fires meanwhile is of the next page
            rows = connection.execute(query.where(_T.position <= last)).mappings().all()
        following = int(rows[-1]["position"]) if len(rows) == limit else max(last, after)
        return [event_of(dict(row)) for row in rows], following

    def of(self, contact_ids: Collection[str], limit: int) -> list[dict[str, Any]]:
        """Return what fired last for contacts, newest first."""
        query = select(TRIGGERS).where(_T.contact_id.in_(contact_ids)).order_by(_T.position.desc())
        with self.engine.connect() as connection:
            return [event_of(dict(row)) for row in connection.execute(query.limit(limit)).mappings()]

    def forget(self, before: datetime) -> int:
        """Delete what fired before a moment, delivered or not; returns how many."""
        old = _T.timestamp < _micros(before)
        with writing(self.engine) as connection:
            positions = select(_T.position).where(old)
            connection.execute(delete(DELIVERIES).where(DELIVERIES.c.position.in_(positions)))
            return int(connection.execute(delete(TRIGGERS).where(old)).rowcount)

    # --- marks

    def mark(self, name: str) -> int | None:
        """Return a mark; None where it was never set."""
        with self.engine.connect() as connection:
            return connection.scalar(select(COUNTERS.c.value).where(COUNTERS.c.name == name))

    def set_marks(self, **values: int) -> None:
        """Set marks."""
        with writing(self.engine) as connection:
            for name, value in values.items():
                set_counter(connection, name, value)


def event_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored row as an event: its time is aware, its facts are a dict."""
    return {**row, "timestamp": moment(row["timestamp"]), "facts": json.loads(row["facts"])}


def set_counter(connection: Connection, name: str, value: int) -> None:
    """Set a counter, which may not be there yet."""
    changed = update(COUNTERS).where(COUNTERS.c.name == name).values(value=value)
    if not connection.execute(changed).rowcount:
        connection.execute(insert(COUNTERS), {"name": name, "value": value})


def count_up(connection: Connection, name: str, by: int) -> int:
    """Add to a counter, in a transaction that waits for other writers; returns what it was."""
    before = _counter(connection, name)
    if by:
        set_counter(connection, name, before + by)
    return before


def _counter(connection: Connection, name: str) -> int:
    return int(connection.scalar(select(COUNTERS.c.value).where(COUNTERS.c.name == name)) or 0)


def _micros(at: datetime) -> int:
    found = micros(at)
    assert found is not None  # noqa: S101 - a moment always has microseconds
    return found


def _held(connection: Connection, contact_ids: Sequence[str]) -> list[Any]:
    query = select(_S.contact_id, _S.states, _S.position)
    found: list[Any] = []
    for piece in pieces(contact_ids):
        found += connection.execute(query.where(_S.contact_id.in_(piece))).all()
    return found


def _still_so(
    connection: Connection, changes: Sequence[Change], basis: Basis
) -> tuple[list[Change], list[str]]:
    """Return the changes that may be stored, and the contacts to look at again.

    Nobody is seen for the first time where somebody was erased since: it may be the one erased.
    """
    held = {row.contact_id: row for row in _held(connection, [change.contact_id for change in changes])}
    erased = _counter(connection, _ERASED) != basis.erasures
    taken, again = [], []
    for change in changes:
        row = held.get(change.contact_id)
        if row is None:
            if change.before is None and not erased:
                taken.append(change)
        elif row.position <= basis.position:  # else somebody has looked who knew more
            if row.states == change.before:
                taken.append(change)
            else:
                again.append(change.contact_id)
    return taken, again


def _write_states(connection: Connection, changes: Sequence[Change], position: int, now: int) -> None:
    known = [change.contact_id for change in changes if change.before is not None]
    for piece in pieces(known):
        connection.execute(delete(TRIGGER_STATES).where(_S.contact_id.in_(piece)))
    rows = [
        {"contact_id": change.contact_id, "states": change.after, "position": position, "since": now}
        for change in changes
    ]
    insert_rows(connection, TRIGGER_STATES, rows)


def _rested(
    connection: Connection, changes: Sequence[Change], now: int, cooldowns: Mapping[str, int]
) -> list[tuple[str, Firing]]:
    """Return the firings, by contact, that are not within the cooldown of an earlier one."""
    firings = [(change.contact_id, firing) for change in changes for firing in change.firings]
    asked = sorted({contact for contact, firing in firings if firing.rule in cooldowns})
    last: dict[tuple[str, str], int] = {}
    for piece in pieces(asked):
        latest = select(_T.contact_id, _T.rule, func.max(_T.timestamp)).where(_T.contact_id.in_(piece))
        for contact, rule, at in connection.execute(latest.group_by(_T.contact_id, _T.rule)):
            last[contact, rule] = at
    return [
        (contact, firing)
        for contact, firing in firings
        if (before := last.get((contact, firing.rule))) is None
        or now - before >= cooldowns.get(firing.rule, 0)
    ]


def _write_firings(
    connection: Connection, firings: Sequence[tuple[str, Firing]], now: int, endpoints: Sequence[str]
) -> None:
    begin = count_up(connection, _GIVEN, len(firings))
    rows = [
        {
            "position": position, "id": f"trg_{uuid.uuid4().hex}", "timestamp": now, "contact_id": contact,
            "rule": firing.rule, "before": firing.before, "after": firing.after,
            "facts": to_json(firing.facts).decode(),
        }
        for position, (contact, firing) in enumerate(firings, begin + 1)
    ]  # fmt: skip
    insert_rows(connection, TRIGGERS, rows)
    owed = [
        {"endpoint": endpoint, "attempts": 0, "next_at": 0}
        | {name: row[name] for name in ("position", "contact_id")}
        for endpoint in endpoints
        for row in rows
    ]
    insert_rows(connection, DELIVERIES, owed)
