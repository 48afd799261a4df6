"""The event log: what happened since the lake was last fed, durable when `append` returns.

SQLite (WAL, synchronous FULL) or PostgreSQL, by URL. An event's `position` orders the log: feature rows
remember the position they have counted up to, so a late event is never missed.
"""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa
from sqlalchemy import (
    Connection,
    Select,
    and_,
    bindparam,
    delete,
    insert,
    literal_column,
    or_,
    select,
    union_all,
    update,
)

from features.events._identity import Graph, Link, Person, Scope, around, theirs
from features.events._log_contacts import merge_contacts
from features.events._log_engine import Quick, engine_of, impatient, insert_rows, leave_nothing, writing
from features.events._log_links import add_links, all_links, touching
from features.events._log_rows import Row, decision, decision_back, micros, moment, order_key, pieces, rows_of
from features.events._log_tables import (
    CONTACTS,
    COUNTERS,
    DECISION_SCHEMA,
    DECISIONS,
    EVENTS,
    FACTS,
    LINKS,
    METADATA,
    TIMES,
    TRIGGERS,
)
from features.events._log_upgrade import POSITION, upgrade
from features.events._types import SCHEMAS, to_frame
from features.events.lake import Lake
from features.events.segment import Arrival
from nextbest.columns import (
    ANONYMOUS_ID,
    CHANNELS,
    CONTACT_COLUMNS,
    CONTACT_ID,
    EVENT,
    EVENT_COLUMNS,
    EVENT_ID,
    IDENTITY_COLUMNS,
    ORDER_ID,
    SUBSCRIBED,
    UNSUBSCRIBED,
)

_CHUNK = 50_000
"""Rows a frame of `read`."""

_E = EVENTS.c
_NOBODYS = (_E.contact_id + literal_column("''")).is_(None)
"""That nobody is known, said so that SQLite does not go through all such events by their index."""
_OWN = _E.contact_id.in_(bindparam("contacts", expanding=True))
_ANONYMOUS = and_(_E.anonymous_id.in_(bindparam("visitors", expanding=True)), _NOBODYS)
_LATER = _E.position > bindparam("since")
_TAIL = union_all(select(EVENTS).where(_OWN, _LATER), select(EVENTS).where(_ANONYMOUS, _LATER)).order_by(
    "position"
)
_TAIL_OF_ONE = select(EVENTS).where(_E.contact_id == bindparam("contact"), _LATER).order_by(_E.position)
_TAIL_COLUMNS = tuple(column.name for column in _E)
_POSITION_NOW = select(COUNTERS.c.value).where(COUNTERS.c.name == POSITION)
CONSENTS, ERASED = "consents", "erased"
_ERASURES = select(COUNTERS.c.value).where(COUNTERS.c.name == bindparam("name"))
_LINK_OF_ONE: Select[Any] = (
    select(literal_column("1"))
    .select_from(LINKS)
    .where(or_(LINKS.c.anonymous_id == bindparam("contact"), LINKS.c.contact_id == bindparam("contact")))
)


class EventLog:
    """One connection pool a process; short transactions; safe for several threads and processes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = engine_of(url)
        self._tail_of_one = Quick(self._engine, _TAIL_OF_ONE)
        self._tail_and_link = Quick(self._engine, _TAIL_OF_ONE, _LINK_OF_ONE)
        self._erased = Quick(self._engine, _ERASURES)
        self._keeps_consents = False
        with self._writing() as connection:
            upgrade(connection)

    def close(self) -> None:
        """Close the pool's connections."""
        self._engine.dispose()

    # --- events

    def append(self, events: pd.DataFrame | Iterable[Row]) -> int:
        """Store validated events in one transaction; returns how many were new (event_id not there yet)."""
        return self.take([Arrival(rows=rows_of(events, EVENT_COLUMNS))])

    def take(self, arrivals: Sequence[Arrival]) -> int:
        """Store what arrived in one transaction, durable on return; returns how many events were new."""
        rows = [row for arrival in arrivals for row in arrival.rows]
        contacts = [row for arrival in arrivals for row in arrival.contacts]
        links = [row for arrival in arrivals for row in arrival.links]
        if not (rows or contacts or links):
            return 0
        with self._writing() as connection:
            fresh = _fresh(connection, rows) if rows else []
            if fresh:
                numbered = zip(_with_lead(connection, fresh), _positions(connection, len(fresh)), strict=True)
                insert_rows(connection, EVENTS, [row | {POSITION: place} for row, place in numbered])
            if contacts:
                merge_contacts(connection, contacts)
                _positions(connection, 1)  # so that a compaction sees that there is something new
            if not self._keeps_consents and _speak_of_consent(fresh, contacts):
                _note(connection, CONSENTS)
            if links:
                add_links(connection, links, lambda count: _positions(connection, count))
        return len(fresh)

    def position(self) -> int:
        """Return the last position given out, to an event or a link; 0 while there is none."""
        with self._engine.connect() as connection:
            return int(connection.scalar(_POSITION_NOW) or 0)

    def tail(
        self, contact_ids: Sequence[str], since: int, anonymous_ids: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """Return the events after a position, in order: EVENT_COLUMNS, `position`, `lead`; times are aware.

        Of contacts: what carries their own id. Of `anonymous_ids`: what was done without a contact id. The
        two kinds of id never match each other: an anonymous id is chosen by the sender, and must not open a
        contact's history. `people` says which ids are the same person.
        """
        if len(contact_ids) == 1 and not anonymous_ids:
            return _tail_rows(self._tail_of_one(contact=contact_ids[0], since=since)[0])
        values = {"contacts": list(contact_ids), "visitors": list(anonymous_ids), "since": since}
        with self._engine.connect() as connection:
            return [_out(dict(row)) for row in connection.execute(_TAIL, values).mappings()]

    def tail_of_unlinked(self, contact_id: str, since: int) -> list[dict[str, Any]] | None:
        """Return a contact's events as `tail` does, of one that no link speaks of; None where one does."""
        rows, links = self._tail_and_link(contact=contact_id, since=since)  # a link made meanwhile counts
        return None if links else _tail_rows(rows)

    def of_person(self, person: Person) -> list[dict[str, Any]]:
        """Return all the log has of a person, as `tail` does: not what others did at a shared device."""
        found = self.tail(sorted(person.members), 0, sorted(person.visitors))
        return [event for event in found if theirs(event, person.visitors)]

    def fed(self, lake: Lake) -> int:
        """Return the position up to which a lake holds this log; 0 where it was fed from another."""
        known = lake.manifest().get("log", {})
        return int(known.get(POSITION, 0)) if known.get("log_id") == self.log_id() else 0

    def read(self, since: int = 0, until: int | None = None) -> Iterator[pd.DataFrame]:
        """Yield the events with since < position <= until as canonical frames, in order."""
        columns = [EVENTS.c[name] for name in EVENT_COLUMNS]
        query = select(EVENTS.c.position, *columns).order_by(EVENTS.c.position).limit(_CHUNK)
        if until is not None:
            query = query.where(EVENTS.c.position <= until)
        while True:
            with self._engine.connect() as connection:
                rows = connection.execute(query.where(EVENTS.c.position > since)).all()
            if not rows:
                return
            since = rows[-1].position
            yield to_frame(_table([row[1:] for row in rows], "events"))

    def compact(self, lake: Lake) -> int:
        """Bring the events, contacts and links of the log into a lake; returns the position they go up to.

        Idempotent; killed halfway, the same again completes it. The events stay here too: rows of the feature
        store count on from their own position. Links that only the lake has are brought here first.
        """
        with lake.locked():
            self.write_identities(lake.identities())
            fed = lake.manifest().get("log", {})
            same = fed.get("log_id") == self.log_id()
            since, until = self.fed(lake), self.position()
            stored = lake.write(self.read(since, until)).stored
            lake.write_contacts(self.contacts())
            lake.write_identities(self.identities())
            rows = fed.get("rows") if fed else 0
            rows = rows + stored if rows is not None and (same or not fed) else None
            lake.note("log", log_id=self.log_id(), position=until, rows=rows)
        return until

    def has_news(self, lake: Lake) -> bool:
        """Tell whether a compaction would bring anything."""
        return self.position() not in (0, self.fed(lake))

    def check(self) -> None:
        """Raise what the database raises where the log can be neither read nor written; changes nothing.

        Whoever writes is waited for, but not as long as events are.
        """
        with (
            self._engine.connect().execution_options(writing=True) as connection,
            impatient(connection),
            connection.begin() as tried,
        ):
            connection.execute(insert(FACTS), {"name": f"probe {uuid.uuid4().hex}", "value": ""})
            tried.rollback()

    def erasures(self) -> int:
        """Return how often somebody was erased from the log."""
        rows = self._erased(name=ERASED)[0]
        return int(rows[0][0]) if rows else 0

    def keeps_consents(self) -> bool:
        """Tell whether anybody's consent, or an unsubscription, ever came in."""
        if not self._keeps_consents:
            with self._engine.connect() as connection:
                known = connection.scalar(select(FACTS.c.value).where(FACTS.c.name == CONSENTS))
            self._keeps_consents = known is not None
        return self._keeps_consents

    def log_id(self) -> str:
        """Return what tells this log from another that may take its place."""
        with self._engine.connect() as connection:
            known = connection.scalar(select(FACTS.c.value).where(FACTS.c.name == "log_id"))
        if known:
            return str(known)
        with self._writing() as connection:
            known = connection.scalar(select(FACTS.c.value).where(FACTS.c.name == "log_id"))
            if not known:
                known = uuid.uuid4().hex
                connection.execute(insert(FACTS), {"name": "log_id", "value": known})
        return str(known)

    def newer(self, since: int) -> set[str]:
        """Return the contacts of whom the log has something after a position: events, visits or links."""
        columns = (_E.contact_id, _E.anonymous_id)
        with self._engine.connect() as connection:
            rows = connection.execute(select(*columns).distinct().where(_E.position > since)).all()
            after = connection.execute(
                select(LINKS.c.anonymous_id, LINKS.c.contact_id).where(LINKS.c.position > since)
            ).all()
        visitors = sorted({row.anonymous_id for row in rows if row.contact_id is None})
        graph = Graph(self.links_around([], visitors)[1]) if visitors else Graph([])
        owners = {owner[0] for visitor in visitors if (owner := graph.owner(visitor)) is not None}
        named = {row.contact_id for row in rows if row.contact_id is not None}
        return named | owners | {id_ for pair in after for id_ in pair}

    # --- contacts and links

    def write_contacts(self, contacts: pd.DataFrame | Iterable[Row]) -> None:
        """Add or update contacts: a value replaces, a null leaves what is known; traits merge key by key."""
        self.take([Arrival(contacts=rows_of(contacts, CONTACT_COLUMNS))])

    def write_identities(self, links: pd.DataFrame | Iterable[Row]) -> None:
        """Link anonymous ids, or a contact's earlier ids (`alias`), to contacts."""
        self.take([Arrival(links=rows_of(links, IDENTITY_COLUMNS))])

    def contacts(self, contact_ids: Sequence[str] | None = None) -> pd.DataFrame:
        """Return what the log knows of contacts, CONTACT_COLUMNS."""
        columns = [CONTACTS.c[name] for name in CONTACT_COLUMNS]
        query = select(*columns).order_by(CONTACTS.c.contact_id)
        rows: list[Any] = []
        with self._engine.connect() as connection:
            for piece in [None] if contact_ids is None else pieces(contact_ids):
                asked = query if piece is None else query.where(CONTACTS.c.contact_id.in_(piece))
                rows += connection.execute(asked).all()
        return _table(rows, "contacts").to_pandas()

    def identities(self) -> pd.DataFrame:
        """Return the log's links, IDENTITY_COLUMNS; the same link may be said twice, of different times."""
        return _table([link[:4] for link in self.links()], "identities").to_pandas()

    def links(self, until: int | None = None) -> list[Link]:
        """Return every link up to a position, in the order they came."""
        with self._engine.connect() as connection:
            return all_links(connection, until)

    def links_around(
        self, contact_ids: Sequence[str], anonymous_ids: Sequence[str] = ()
    ) -> tuple[int, list[Link]]:
        """Return the position, and the links that decide who contacts are and whose anonymous ids are."""
        with self._engine.connect() as connection:
            position = int(connection.scalar(_POSITION_NOW) or 0)
            return position, around(contact_ids, lambda a, c: touching(connection, a, c), anonymous_ids)

    def people(self, contact_ids: Sequence[str]) -> list[Person]:
        """Return the person each contact id belongs to."""
        graph = Graph(self.links_around(contact_ids)[1])
        return [graph.person(contact) for contact in contact_ids]

    # --- decisions

    def record_decision(self, row: Row) -> None:
        """Store an answer given: decision_id, timestamp, kind, shown, …; other keys are kept too.

        `shown`: [item, propensity, source of the item] each, best first.
        """
        self.record_decisions([row])

    def record_decisions(self, rows: Iterable[Row]) -> None:
        """Store answers in one transaction."""
        if held := [decision(row) for row in rows]:
            with self._writing() as connection:
                insert_rows(connection, DECISIONS, held)

    def decisions(self, since: datetime | None = None, kind: str | None = None) -> list[dict[str, Any]]:
        """Return the recorded decisions, oldest first."""
        query = select(DECISIONS).order_by(DECISIONS.c.timestamp, DECISIONS.c.decision_id)
        if since is not None:
            query = query.where(DECISIONS.c.timestamp >= micros(since))
        if kind is not None:
            query = query.where(DECISIONS.c.kind == kind)
        with self._engine.connect() as connection:
            return [decision_back(dict(row)) for row in connection.execute(query).mappings()]

    def decision_tables(self, since: datetime | None = None) -> Iterator[pa.Table]:
        """Yield the recorded decisions as Arrow, DECISION_SCHEMA, in no order: for many, in little memory."""
        query = select(DECISIONS)
        if since is not None:
            query = query.where(DECISIONS.c.timestamp >= micros(since))
        with self._engine.connect().execution_options(yield_per=_CHUNK) as connection:
            for rows in connection.execute(query).partitions():
                yield _arrow(rows, DECISION_SCHEMA)

    def decisions_of(self, person: Person) -> list[dict[str, Any]]:
        """Return the decisions about a person: under their ids, or anonymous while the device was theirs."""
        held = DECISIONS.c
        visits = and_(held.contact_id.is_(None), held.anonymous_id.in_(sorted(person.visitors)))
        query = select(DECISIONS).where(or_(held.contact_id.in_(sorted(person.members)), visits))
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(held.timestamp, held.decision_id)).mappings().all()
        return [found for row in rows if theirs(found := decision_back(dict(row)), person.visitors)]

    def triggers_of(self, contact_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Return what triggers fired for contacts, oldest first."""
        query = select(TRIGGERS).where(TRIGGERS.c.contact_id.in_(list(contact_ids)))
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(TRIGGERS.c.position)).mappings().all()
        return [
            {**row, "timestamp": moment(row["timestamp"]), "facts": json.loads(row["facts"])} for row in rows
        ]

    def forget_decisions(self, before: datetime) -> int:
        """Delete the decisions made before a moment; returns how many."""
        with self._writing() as connection:
            old = delete(DECISIONS).where(DECISIONS.c.timestamp < micros(before))
            return int(connection.execute(old).rowcount)

    def shown(
        self, contact_id: str, placement: str, since: datetime, until: datetime, most: int = 200
    ) -> set[str]:
        """Return the items that the `most` latest answers from since to until showed a contact there."""
        held = DECISIONS.c
        query = select(held.shown).where(
            held.contact_id == contact_id,
            held.placement == placement,
            held.timestamp.between(micros(since), micros(until)),
        )
        with self._engine.connect() as connection:
            latest = connection.scalars(query.order_by(held.timestamp.desc()).limit(most)).all()
        return {str(item) for shown in latest for item, *_ in json.loads(shown)}

    # --- forgetting

    def erase(self, contact_ids: Sequence[str], scope: Scope | None = None) -> int:
        """Erase people by any of their ids: events, decisions, traits, links, visits; returns the events.

        Of a device they shared, everything anonymous goes but what another owns. `scope`: what is to go,
        where it is known already.
        """
        with self._writing() as connection:
            if scope is None:
                links = around(contact_ids, lambda a, c: touching(connection, a, c))
                scope = Graph(links).scope(contact_ids)
            erased = _delete_members(connection, sorted(scope.members))
            erased += _delete_visits(connection, scope.visits)
            counted = update(COUNTERS).where(COUNTERS.c.name == ERASED).values(value=COUNTERS.c.value + 1)
            if not connection.execute(counted).rowcount:
                connection.execute(insert(COUNTERS), {"name": ERASED, "value": 1})
        leave_nothing(self._engine, scope.ids())
        return erased

    def _writing(self) -> AbstractContextManager[Connection]:
        return writing(self._engine)


def _delete_members(connection: Connection, members: Sequence[str]) -> int:
    """Delete whatever any table keeps of contacts; returns the events."""
    erased = 0
    for piece in pieces(members):
        for table in (table for table in METADATA.sorted_tables if CONTACT_ID in table.c):
            gone = connection.execute(delete(table).where(table.c[CONTACT_ID].in_(piece)))
            erased += gone.rowcount if table is EVENTS else 0
        connection.execute(delete(LINKS).where(LINKS.c.alias, LINKS.c.anonymous_id.in_(piece)))
    return erased


def _delete_visits(connection: Connection, visits: Mapping[str, int | None]) -> int:
    """Delete what was done anonymously after the time given (None: all of it); returns the events."""
    erased = 0
    for anonymous, kept in visits.items():
        for table in (EVENTS, DECISIONS):
            theirs = table.c.contact_id.is_(None) & (table.c.anonymous_id == anonymous)
            later = table.c.timestamp > kept if kept is not None else theirs
            gone = connection.execute(delete(table).where(theirs, later))
            erased += gone.rowcount if table is EVENTS else 0
    return erased


def _positions(connection: Connection, count: int) -> range:
    """Give out the next positions; writers wait for each other, so they become visible in order."""
    last = int(connection.scalar(_POSITION_NOW) or 0) + count
    connection.execute(update(COUNTERS).where(COUNTERS.c.name == POSITION).values(value=last))
    return range(last - count + 1, last + 1)


def _note(connection: Connection, fact: str) -> None:
    """Remember a fact, once."""
    if connection.scalar(select(FACTS.c.value).where(FACTS.c.name == fact)) is None:
        connection.execute(insert(FACTS), {"name": fact, "value": "yes"})


def _speak_of_consent(events: Iterable[Row], contacts: Iterable[Row]) -> bool:
    told = any(row.get(f"consent_{channel}") is not None for row in contacts for channel in CHANNELS)
    return told or any(row[EVENT] in (UNSUBSCRIBED, SUBSCRIBED) for row in events)


def _fresh(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows whose event_id is new, each once."""
    known = _held(connection, [row[EVENT_ID] for row in rows])
    fresh: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row[EVENT_ID] not in known:
            fresh.setdefault(row[EVENT_ID], row)
    return list(fresh.values())


def _with_lead(connection: Connection, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mark the first stored line of each order, of its kind of event and of its contact."""
    columns = [EVENTS.c[name] for name in (ORDER_ID, EVENT, CONTACT_ID, ANONYMOUS_ID)]
    seen: set[tuple[Any, ...] | None] = set()
    for piece in pieces(sorted({row[ORDER_ID] for row in rows if row[ORDER_ID] is not None})):
        found = connection.execute(select(*columns).distinct().where(EVENTS.c.order_id.in_(piece)))
        seen |= {order_key(dict(row)) for row in found.mappings()}
    out = []
    for row in rows:
        key = order_key(row)
        out.append(row | {"lead": key is None or key not in seen})
        seen.add(key)
    return out


def _held(connection: Connection, ids: Sequence[str]) -> set[str]:
    held: set[str] = set()
    for piece in pieces(ids):
        held |= set(connection.scalars(select(EVENTS.c.event_id).where(EVENTS.c.event_id.in_(piece))))
    return held


def _tail_rows(rows: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
    return [_out(dict(zip(_TAIL_COLUMNS, row, strict=True))) for row in rows]


def _out(row: Row) -> dict[str, Any]:
    return {**row, **{name: moment(row[name]) for name in TIMES if name in row}}


def _table(rows: Sequence[Sequence[Any]], name: str) -> pa.Table:
    return _arrow(rows, SCHEMAS[name])


def _arrow(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.Table:
    """Return database rows as Arrow; microseconds become times without passing through Python datetimes."""
    if not rows:
        return schema.empty_table()
    columns = zip(*rows, strict=True)
    kinds = [pa.int64() if field.name in TIMES else field.type for field in schema]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    return pa.table(arrays, names=schema.names).cast(schema)
