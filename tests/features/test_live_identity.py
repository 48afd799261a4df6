"""The served state is the state counted from all events, whatever came in whichever order."""

import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from math import isnan
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from features.events._identity import Graph, Link, Person, theirs
from features.events.log import EventLog
from features.fold import fold
from features.live import LiveContacts
from features.points import Rules
from features.state import LISTS_AS_OF, LISTS_AT, ContactState
from nextbest.columns import AS_OF

from .test_fold import PATHS, same

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAY_MICROS = 86_400_000_000
DAYS = st.integers(0, 6)
WHO = st.sampled_from("abc")
VISITOR = st.sampled_from("vw")
EVENT = st.tuples(
    st.just("event"), st.one_of(st.none(), WHO), VISITOR,
    st.sampled_from(["product_viewed", "order_completed", "message_sent"]), st.sampled_from([*PATHS]), DAYS,
)  # fmt: skip
IDENTIFY = st.tuples(st.just("identify"), WHO, VISITOR, DAYS)
ALIAS = st.tuples(st.just("alias"), st.sampled_from("abcv"), WHO, DAYS)
WHOLE = 7
BUILD = st.tuples(st.just("build"), st.integers(0, WHOLE))
STEPS = st.lists(st.one_of(EVENT, EVENT, EVENT, IDENTIFY, ALIAS, BUILD), min_size=2, max_size=14)
IMPORTED = st.lists(EVENT, max_size=3)  # a build begins where there are any


@dataclass
class FakeStore:
    """Rows as builds have put them online, whole or killed on the way."""

    rows: dict[str, ContactState] = field(default_factory=dict)
    builds: int = 0

    def online(self, service: str, contact_ids: Sequence[str]) -> list[dict[str, Any] | None]:
        return [self._row(self.rows[c]) if c in self.rows else None for c in contact_ids]

    def stamp(self) -> int:
        return self.builds

    def _row(self, state: ContactState) -> dict[str, Any]:
        more = {AS_OF: state.as_of, LISTS_AS_OF: state.lists_as_of, LISTS_AT: state.lists_at}
        return {**state.counters, **state.times, **state.arrays, **more}


class World:
    """A log, a stand-in for the store and what imports brought; everything computed anew to compare with."""

    def __init__(self, log: EventLog, rules: Rules, imported: list[dict[str, Any]]) -> None:
        self.log, self.rules, self.store, self.imported = log, rules, FakeStore(), imported
        self.built: list[dict[str, Any]] = []
        self.live = LiveContacts(self.store, log, rules, lambda: PATHS, self)  # type: ignore[arg-type]

    def do(self, number: int, step: tuple[Any, ...]) -> None:
        if step[0] == "event":
            self.log.append([row_of(f"e{number}", step)])
        elif step[0] == "build":
            self.build(step[1])
        else:
            _, one, other, days = step
            anonymous, contact = (other, one) if step[0] == "identify" else (one, other)
            if anonymous != contact:
                link = {"anonymous_id": anonymous, "contact_id": contact, "alias": step[0] == "alias",
                        "timestamp": NOW - timedelta(days=days, hours=1)}  # fmt: skip
                self.log.write_identities([link])

    def build(self, halves: int) -> None:
        """Put rows online, counters, then arrays, and take away the merged; killed after so many halves."""
        position = self.log.position()
        graph = Graph(self.log.links(until=position))
        self.built = self.imported
        self.store.builds += 1
        states = {each: self.counted(graph.person(each), graph) for each in "abc"}
        wanted = {c: s for c, s in states.items() if graph.canonical(c) == c and not isnan(s.timestamp)}
        for number, (contact, new) in enumerate(wanted.items()):
            old = self.store.rows.get(contact)
            new = replace(new, as_of=position, lists_as_of=position)
            if halves == 2 * number + 1 and old is not None:
                new = replace(new, arrays=old.arrays, lists_at=old.lists_at, lists_as_of=old.lists_as_of)
            if halves > 2 * number:
                self.store.rows[contact] = new
        if halves == WHOLE:
            for gone in self.store.rows.keys() - wanted.keys():
                del self.store.rows[gone]

    def counted(self, person: Person, graph: Graph) -> ContactState:
        events = [
            {key: value for key, value in event.items() if key != "position"}
            for event in self.everything() if owner_of(event, graph) == person.contact_id
        ]  # fmt: skip
        return fold(ContactState.empty(person.contact_id), events, self.rules, PATHS)

    def everything(self) -> Iterator[dict[str, Any]]:
        yield from self.log.tail(list("abc"), 0, list("vw") + list("abc"))
        yield from self.built

    def visits(self, anonymous_ids: Sequence[str]) -> list[dict[str, Any]]:
        visits = [event for event in self.built if event["contact_id"] is None]
        return [event for event in visits if event["anonymous_id"] in anonymous_ids]

    def events(self, person: Person) -> list[dict[str, Any]]:
        return [
            event for event in self.everything()
            if event["contact_id"] in person.members
            or (event["contact_id"] is None and event["anonymous_id"] in person.visitors
                and theirs(event, person.visitors))
        ]  # fmt: skip


def row_of(event_id: str, step: tuple[Any, ...]) -> dict[str, Any]:
    _, contact, visitor, kind, item, days = step
    return {
        "event_id": event_id, "event": kind, "timestamp": NOW - timedelta(days=days), "contact_id": contact,
        "anonymous_id": visitor, "item_id": item, "order_id": event_id if kind == "order_completed" else None,
        "price": 2.0, "quantity": 1.0, "channel": "email" if kind == "message_sent" else None,
    }  # fmt: skip


def owner_of(event: dict[str, Any], graph: Graph) -> str | None:
    if event["contact_id"] is not None:
        return graph.canonical(event["contact_id"])
    owner = graph.owner(event["anonymous_id"])
    if owner is None:
        return None
    return owner[0] if owner[1] is None or event["timestamp"].timestamp() * 1e6 <= owner[1] else None


@settings(max_examples=30, deadline=None)
@given(steps=STEPS, imported=IMPORTED)
def test_any_interleaving_serves_what_all_events_say(steps: Any, imported: Any, rules: Rules) -> None:
    brought = [row_of(f"i{number}", step) for number, step in enumerate(imported)]
    with TemporaryDirectory() as folder, closing(EventLog(f"sqlite:///{folder}/events.db")) as log:
        world = World(log, rules, brought)
        if brought:
            world.build(WHOLE)
        for number, step in enumerate(steps):
            world.do(number, step)
            world.live.get("abc"[number % 3], NOW.timestamp())  # what is kept must not go stale,
            world.live.get(["a", "b"], NOW.timestamp())  # whether one is asked for or several
        graph = Graph(log.links())
        for contact, view in zip("abc", world.live.get(list("abc"), NOW.timestamp()), strict=True):
            expected = world.counted(graph.person(contact), graph)
            assert view.contact_id == contact
            same_or_nothing(view, expected.at(NOW.timestamp()))
            (alone,) = world.live.get([contact], NOW.timestamp())
            same_or_nothing(alone, expected.at(NOW.timestamp()))


def same_or_nothing(ours: Any, expected: Any) -> None:
    assert bool(ours.features) == bool(expected.features)
    if expected.features:
        same(ours, expected, 10.0)


def test_the_build_gives_events_to_whom_the_links_say(ready: Any, event: Any) -> None:
    chance = random.Random(5)
    for _ in range(6):
        links = [
            Link(
                chance.choice("abcdvw"),
                chance.choice("abcd"),
                chance.randint(0, 6) * DAY_MICROS,
                alias,
                place,
            )
            for place, alias in enumerate(chance.choices([True, False], k=7))
        ]
        graph = Graph(links)
        events = [
            event("wished", contact_id=contact, anonymous_id=visitor)
            | {"timestamp": datetime.fromtimestamp(days * 86_400, UTC)}
            for contact in ("a", "b", "c", "d", None) for visitor in ("v", "w", "a", "b") for days in range(7)
        ]  # fmt: skip
        backend, prepared = ready(events, links=links)
        found = dict(backend.to_pyarrow(prepared.select("event_id", "contact_id")).to_pandas().to_numpy())
        for each in events:
            assert found[each["event_id"]] == owner_of(each, graph), (each, links)
