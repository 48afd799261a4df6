"""Contacts as they are now: the stored rows of a person, and what the event log has since, folded."""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import pyarrow.parquet as pq

from features._parts import Part, parts_of
from features.events._identity import Graph, Link, Person, theirs
from features.events._micros import micros
from features.events.log import EventLog
from features.fold import fold
from features.merge import merge
from features.points import Rules
from features.state import ContactState, ContactView
from features.store import Store
from features.stored import KEPT, Stored
from features.tables import table_path
from features.whole import WholeHistory
from nextbest.columns import ANONYMOUS_ID, CONTACT_ID, EVENT, LOOKS, TIMESTAMP
from nextbest.settings import Settings

FOLDED = "folded"
"""Note of a state: what its events since have made of it."""
APART_FROM_LOOKS = "apart_from_looks"
"""Note of a state: what was made of it without regard to LOOKS, which outlives them."""
WARMED = 25
"""Rows of a batch: a request that waits for one waits some milliseconds."""
COUNTED = 200
"""People kept who were counted from all their events, because their stored rows no longer hold."""
Row = dict[str, Any]


class Log(Protocol):
    """What is asked of the event log (features.events.log.EventLog)."""

    def tail(
        self, contact_ids: Sequence[str], since: int, anonymous_ids: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """Return the ids' events with position > since, oldest position first."""

    def tail_of_unlinked(self, contact_id: str, since: int) -> list[dict[str, Any]] | None:
        """Return a contact's events with position > since; None where a link speaks of the contact."""

    def links_around(
        self, contact_ids: Sequence[str], anonymous_ids: Sequence[str] = ()
    ) -> tuple[int, list[Link]]:
        """Return the log's position and the links that say who the ids are."""

    def erasures(self) -> int:
        """Return how often somebody was erased."""


class LiveContacts:
    """Reads only; safe to share between threads."""

    def __init__(
        self,
        store: Store,
        log: Log,
        points_rules: Rules,
        paths: Callable[[], Mapping[str, str]] = dict,
        whole: WholeHistory | None = None,
    ) -> None:
        """`paths` returns item_id -> category path; called for every fold, so it had better remember.

        `whole` reads what only the lake has, for people whose stored rows no longer hold; None: nothing.
        """
        self._stored = Stored(store)
        self._log = log
        self._rules = points_rules
        self._paths = paths
        self._history = whole
        self._counted: OrderedDict[Hashable, ContactState] = OrderedDict()
        self._strangers: OrderedDict[Hashable, ContactState] = OrderedDict()
        self._erasures = 0
        self._lock = Lock()

    @classmethod
    def open(cls, settings: Settings, log: EventLog | None = None) -> "LiveContacts":
        """Put together from the state folder; `log`: one already open."""
        log, rules = log or EventLog(settings.event_log_url), Rules.load(settings.rules)
        return cls(Store(settings), log, rules, ItemPaths(settings), WholeHistory(settings, log))

    def get(self, contact_ids: Sequence[str], now: float, stored: bool = True) -> list[ContactView]:
        """Return each contact at `now` (epoch seconds), events acknowledged before this call included.

        Whoever the id belongs to: all ids of a person give the same. A contact without a stored row (`known`
        False) is folded from the log alone; so is everyone with stored=False, for when the store fails.
        Raises StoreUnavailable, and NotReady before the first build.
        """
        if stored and len(contact_ids) == 1 and (state := self._alone(contact_ids[0])) is not None:
            return [state.at(now)]
        graph, rows = self._read(contact_ids, stored)
        people = [graph.person(contact) for contact in contact_ids]
        distinct = {person.contact_id: person for person in people}
        states = self._states(list(distinct.values()), rows, graph)
        return [
            _named(states[person.contact_id], contact).at(now)
            for contact, person in zip(contact_ids, people, strict=True)
        ]

    def warm(self, contact_ids: Sequence[str]) -> None:
        """Read stored states into memory, as many as are kept: in batches that costs a third."""
        for start in range(0, min(len(contact_ids), KEPT), WARMED):
            self._stored.get(contact_ids[start : start + WARMED])

    def visitors(self, anonymous_ids: Sequence[str], now: float) -> list[ContactView]:
        """Return visitors from what was done anonymously; contact_id is None, even for one who is known.

        Of a device that several people have claimed, what belongs to the first of them is left out.
        """
        graph, paths = Graph(self._log.links_around([], anonymous_ids)[1]), self._paths()
        owners = {visitor: graph.owner(visitor) for visitor in anonymous_ids}
        bases = {visitor: self._stranger(("visitor", visitor, owners[visitor])) for visitor in anonymous_ids}
        parts = {visitor: Part(base, frozenset(), {visitor: None}) for visitor, base in bases.items()}
        held = {visitor: _held(part, paths) for visitor, part in parts.items()}
        events: dict[str, list[Row]] = defaultdict(list)
        for event in self._log.tail(
            [], min((state.as_of for state in held.values()), default=0), anonymous_ids
        ):
            visitor, owner = event[ANONYMOUS_ID], owners[event[ANONYMOUS_ID]]
            theirs_alone = owner is None or owner[1] is None or micros(event[TIMESTAMP]) > owner[1]
            if theirs_alone and event["position"] > held[visitor].as_of:
                events[visitor].append(event)
        return [
            self._folded(parts[visitor], held[visitor], events[visitor], paths).at(now)
            for visitor in anonymous_ids
        ]

    def contact_of(self, anonymous_id: str) -> str | None:
        """Return the contact an anonymous id belongs to; None where nobody or several have claimed it.

        Not for answers to whoever only says an anonymous id: that would open a contact's history to browsers.
        """
        owner = Graph(self._log.links_around([], [anonymous_id])[1]).owner(anonymous_id)
        return owner[0] if owner is not None and owner[1] is None else None

    def _alone(self, contact_id: str) -> ContactState | None:
        """Return the state of a contact without other ids, asking the log once; None where it has some.

        The row is read first, so that nothing in the log is older than what it has counted.
        """
        row, paths = self._stored.get([contact_id])[0], self._paths()
        base = row if row.known else self._stranger(("contact", contact_id))
        part = Part(base, frozenset([contact_id]), {})
        held = _held(part, paths)
        events = self._log.tail_of_unlinked(contact_id, min(held.as_of, held.lists_as_of))
        return None if events is None else self._folded(part, held, events, paths)

    def _stranger(self, key: tuple[Any, ...]) -> ContactState:
        """Return the empty state of somebody without a stored row: the same one until somebody is erased.

        What is folded into it is kept with it, so that of whoever does a lot only the news is read.
        """
        erasures = self._log.erasures()
        with self._lock:
            if erasures != self._erasures:
                self._strangers.clear()
                self._erasures = erasures
            state = self._strangers.setdefault(
                key, ContactState.empty(key[1] if key[0] == "contact" else None)
            )
            self._strangers.move_to_end(key)
            while len(self._strangers) > KEPT:
                self._strangers.popitem(last=False)
        return state

    def _read(self, contact_ids: Sequence[str], stored: bool) -> tuple[Graph, dict[str, ContactState]]:
        """Return who is who and the stored rows of all their ids; the links are never older than the rows."""
        for _ in range(3):  # a build may put newer rows online in between
            position, links = self._log.links_around(contact_ids)
            graph = Graph(links)
            members = sorted({m for contact in contact_ids for m in graph.person(contact).members})
            found = self._stored.get(members) if stored else []
            rows = {str(state.contact_id): state for state in found if state.known}
            if all(max(row.as_of, row.lists_as_of) <= position for row in rows.values()):
                break
        return graph, rows

    def _states(
        self, people: Sequence[Person], rows: Mapping[str, ContactState], graph: Graph
    ) -> dict[str, ContactState]:
        """Return each person's state by its id."""
        plans: dict[str, list[Part]] = {}
        states: dict[str, ContactState] = {}
        for person in people:
            held = [rows[member] for member in sorted(person.members) if member in rows]
            if graph.touches(person.contact_id) and any(row.as_of != row.lists_as_of for row in held):
                states[person.contact_id] = self._half_written(person, held, graph)
            else:
                plans[person.contact_id] = parts_of(person, held, graph) or [self._whole(person)]
        paths = self._paths()
        before = {id(part): _held(part, paths) for parts in plans.values() for part in parts}
        # of one person only what is new is read; of many, all from the few positions their rows stand at
        counted = before if len(plans) == 1 else {}
        events = self._events([part for parts in plans.values() for part in parts], counted)
        for contact, parts in plans.items():
            folded = [self._folded(part, before[id(part)], events[id(part)], paths) for part in parts]
            states[contact] = reduce(merge, folded)
        return states

    def _half_written(self, person: Person, rows: Sequence[ContactState], graph: Graph) -> ContactState:
        """Return the state where a build has put a row's counters online, and not its arrays yet."""
        counted = {str(row.contact_id): replace(row, lists_as_of=row.as_of) for row in rows}
        listed = {str(row.contact_id): replace(row, as_of=row.lists_as_of) for row in rows}
        counters, lists = (
            self._states([person], held, graph)[person.contact_id] for held in (counted, listed)
        )
        return replace(counters, arrays=lists.arrays, lists_at=lists.lists_at, lists_as_of=lists.lists_as_of)

    def _events(self, parts: Iterable[Part], counted: Mapping[int, ContactState]) -> Mapping[int, list[Row]]:
        """Return each part's events that its row, or the state `counted`, has not; by the part's id()."""
        found: dict[int, list[Row]] = defaultdict(list)
        asked: dict[int, list[Part]] = defaultdict(list)
        for part in parts:
            state = counted.get(id(part), part.state)
            asked[min(state.as_of, state.lists_as_of)].append(part)
        for since, group in asked.items():
            owners = {contact: part for part in group for contact in part.contacts}
            visits = {visitor: part for part in group for visitor in part.visitors}
            for event in self._log.tail(list(owners), since, list(visits)):
                contact = event[CONTACT_ID]
                part = owners[contact] if contact is not None else visits[event[ANONYMOUS_ID]]
                if theirs(event, part.visitors):
                    found[id(part)].append(event)
            if since == 0 and visits and self._history is not None:
                for event in self._history.visits(list(visits)):
                    part = visits[event[ANONYMOUS_ID]]
                    held = {one["event_id"] for one in found[id(part)]}
                    if theirs(event, part.visitors) and event["event_id"] not in held:
                        found[id(part)].append(event)
        return found

    def _whole(self, person: Person) -> Part:
        """Return the part that is counted from every event there is, or was for a request before."""
        key = person.contact_id, person.members, tuple(person.visitors.items())
        with self._lock:
            state = self._counted.get(key)
        if state is None:
            if self._history is None:
                raise RuntimeError("a person's rows do not hold, and there is no history to count from")
            state = self._fold(ContactState.empty(person.contact_id), self._history.events(person))
            state = replace(state, known=True, as_of=max(state.as_of, 1), lists_as_of=max(state.as_of, 1))
            with self._lock:
                self._counted[key] = state
                while len(self._counted) > COUNTED:
                    self._counted.popitem(last=False)
        return Part(state, person.members, person.visitors)

    def _folded(
        self, part: Part, held: ContactState, events: list[Row], paths: Mapping[str, str]
    ) -> ContactState:
        """Fold what is new into what was folded before, and keep it for the next time.

        Visits that only the lake has carry no position and are folded into empty states alone, which no other
        request sees: links have positions, so a row that has counted visitors stands above 0.
        """
        folded = fold(held, events, self._rules, paths)
        if folded is not held:
            if all(event[EVENT] in LOOKS for event in events):
                folded.notes[APART_FROM_LOOKS] = held.notes.setdefault(APART_FROM_LOOKS, {})
            part.state.notes[FOLDED] = _Folded(part.contacts, part.visitors, paths, folded)
        return folded

    def _fold(self, state: ContactState, events: list[Row]) -> ContactState:
        return fold(state, events, self._rules, self._paths()) if events else state


class ItemPaths:
    """item_id -> category path as of the last build; read again when a build has replaced it."""

    def __init__(self, settings: Settings) -> None:
        self._file: Path = table_path(settings, "item_paths")
        self._stamp: tuple[int, int] | None = None
        self._paths: dict[str, str] = {}

    def __call__(self) -> Mapping[str, str]:
        """Return the mapping; empty before the first build."""
        stamp = self._stat()
        if stamp != self._stamp:
            table = pq.read_table(self._file, columns=["item_id", "path"]) if stamp else None
            columns = (table["item_id"].to_pylist(), table["path"].to_pylist()) if table else ([], [])
            self._paths, self._stamp = dict(zip(*columns, strict=True)), stamp
        return self._paths

    def _stat(self) -> tuple[int, int] | None:
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino


@dataclass(frozen=True)
class _Folded:
    """What the events of these ids made of a state."""

    contacts: frozenset[str]
    visitors: Mapping[str, int | None]
    paths: Mapping[str, str]
    state: ContactState


def _held(part: Part, paths: Mapping[str, str]) -> ContactState:
    """Return what was made of a part's state before, if of events of the same ids; else the state."""
    held: _Folded | None = part.state.notes.get(FOLDED)
    if held is None or held.paths is not paths:
        return part.state
    same = held.contacts == part.contacts and held.visitors == part.visitors
    return held.state if same else part.state


def _named(state: ContactState, contact_id: str) -> ContactState:
    """Return a state under the id that was asked for; the same one, with its notes, where it has that."""
    return state if state.contact_id == contact_id else state.renamed(contact_id)
