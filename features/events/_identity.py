"""Who is who: what links say, whatever the order they came in.

An alias makes its earlier id the same person as its contact: a -> b -> c are all c. Of several aliases of one
id the earliest stands; where they run in a circle, the latest of it is not followed. An anonymous id that one
person only has claimed is theirs altogether. Where several have (a shared device), the first claimer owns
what was done anonymously up to the first claim, and nobody what came later. Of two first claims of one
moment, nobody owns anything. An event's own contact id always counts first.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from features.events._micros import micros
from nextbest.columns import ANONYMOUS_ID, CONTACT_ID, TIMESTAMP

Key = TypeVar("Key")
NEVER = -1
"""Microseconds before any event: of claims of one moment nobody can say which was first."""


class Link(NamedTuple):
    """`anonymous_id` is `contact_id`'s: said of `timestamp` (microseconds), at `position` of the log."""

    anonymous_id: str
    contact_id: str
    timestamp: int
    alias: bool
    position: int


@dataclass(frozen=True)
class Person:
    """One person's ids: `contact_id` stands for the `members`, `visitors` are their anonymous ids.

    A visitor's anonymous events up to the time given (microseconds; None: all) are the person's.
    """

    contact_id: str
    members: frozenset[str]
    visitors: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Scope:
    """What is erased with people: all of their `members`, and what their `visits` did anonymously.

    Only what came after the time given (microseconds; None: everything) goes.
    """

    members: frozenset[str]
    visits: Mapping[str, int | None]

    def ids(self) -> list[str]:
        """Return the ids of which nothing stays: the members', and those of devices nobody else used."""
        return sorted(self.members.union(visit for visit, kept in self.visits.items() if kept is None))


class Graph:
    """Answers from the links it is given; they must hold all there are of the ids asked for."""

    def __init__(self, links: Iterable[Link]) -> None:
        self._links = list(links)
        self._before: dict[int, Graph] = {}
        self._aliases: dict[str, tuple[int, str]] = {}
        self._claims: dict[str, dict[str, int]] = defaultdict(dict)
        self._visitors: dict[str, set[str]] = defaultdict(set)
        self._earlier: dict[str, set[str]] = defaultdict(set)
        for link in self._links:
            _keep_least(self._claims[link.anonymous_id], link.contact_id, link.timestamp)
            self._visitors[link.contact_id].add(link.anonymous_id)
            if link.alias and link.anonymous_id != link.contact_id:
                _keep_least(self._aliases, link.anonymous_id, (link.timestamp, link.contact_id))
        for earlier, (_, contact) in self._aliases.items():
            self._earlier[contact].add(earlier)

    def until(self, position: int) -> "Graph":
        """Return what was known up to a position of the log."""
        if position not in self._before:
            self._before[position] = Graph(link for link in self._links if link.position <= position)
        return self._before[position]

    def touches(self, contact_id: str) -> bool:
        """Tell whether any link speaks of a contact id."""
        return contact_id in self._visitors or contact_id in self._claims

    def canonical(self, contact_id: str) -> str:
        """Return the id that stands for the person."""
        path = [contact_id]
        while (alias := self._aliases.get(path[-1])) is not None:
            if alias[1] in path:
                circle = path[path.index(alias[1]) :]
                return max(circle, key=lambda each: (self._aliases[each], each))
            path.append(alias[1])
        return path[-1]

    def owner(self, anonymous_id: str) -> tuple[str, int | None] | None:
        """Return whose an anonymous id is and up to when (None: always); None where nobody has claimed it."""
        claimed: dict[str, int] = {}
        for contact, timestamp in self._claims.get(anonymous_id, {}).items():
            _keep_least(claimed, self.canonical(contact), timestamp)
        if not claimed:
            return None
        (began, first), *others = sorted((timestamp, contact) for contact, timestamp in claimed.items())
        if others and others[0][0] == began:
            return first, NEVER
        return first, began if others else None

    def person(self, contact_id: str) -> Person:
        """Return everything that is one person with a contact id."""
        contact = self.canonical(contact_id)
        members, waiting = {contact}, [contact]
        while waiting:
            for earlier in self._earlier.get(waiting.pop(), ()):
                if earlier not in members:
                    members.add(earlier)
                    waiting.append(earlier)
        visitors = {}
        for anonymous in sorted(set().union(*(self._visitors.get(member, ()) for member in members))):
            owner = self.owner(anonymous)
            if owner is not None and owner[0] == contact:
                visitors[anonymous] = owner[1]
        return Person(contact, frozenset(members), visitors)

    def merged(self) -> dict[str, str]:
        """Return earlier id -> the id that stands for the person, of all that have one."""
        resolved = {earlier: self.canonical(earlier) for earlier in self._aliases}
        return {earlier: contact for earlier, contact in resolved.items() if earlier != contact}

    def contacts(self) -> set[str]:
        """Return the id of everyone who has more than one."""
        return {self.canonical(link.contact_id) for link in self._links}

    def owners(self) -> dict[str, tuple[str, int | None]]:
        """Return `owner` of every anonymous id that was claimed."""
        found = ((anonymous, self.owner(anonymous)) for anonymous in self._claims)
        return {anonymous: owner for anonymous, owner in found if owner is not None}

    def scope(self, contact_ids: Iterable[str]) -> "Scope":
        """Return what is to go when people are erased.

        Of an anonymous id they have claimed, everything goes that is not another's: what is nobody's may be
        theirs.
        """
        people = [self.person(contact) for contact in contact_ids]
        members = frozenset().union(*(person.members for person in people))
        gone = {person.contact_id for person in people}
        visits: dict[str, int | None] = {}
        for anonymous in sorted(set().union(*(self._visitors.get(member, ()) for member in members))):
            owner = self.owner(anonymous)
            visits[anonymous] = owner[1] if owner is not None and owner[0] not in gone else None
        return Scope(members, visits)


def theirs(event: Mapping[str, Any], visitors: Mapping[str, int | None]) -> bool:
    """Tell whether an event of a person's ids is the person's: named, or anonymous while the id was theirs.

    `visitors`: as Person has them. The same in SQL: features._known.known.
    """
    if event.get(CONTACT_ID) is not None:
        return True
    until = visitors[event[ANONYMOUS_ID]]
    return until is None or micros(event[TIMESTAMP]) <= until


Touching = Callable[[Sequence[str], Sequence[str]], Iterable[Link]]
"""(anonymous ids, contact ids) -> the links of any of the first, and those to any of the second."""


def around(contact_ids: Iterable[str], touching: Touching, anonymous_ids: Iterable[str] = ()) -> list[Link]:
    """Fetch the links that `Graph` needs to answer for contacts, and for the owners of anonymous ids."""
    found: dict[int, Link] = {}
    from_known: set[str] = set()
    to_known: set[str] = set()
    up, down = {*contact_ids, *anonymous_ids}, set(contact_ids)
    while up or down:
        from_known |= up
        to_known |= down
        found |= {link.position: link for link in touching(sorted(up), sorted(down))}
        links = found.values()
        claimers = {link.contact_id for link in links if link.anonymous_id in from_known}
        claimed = {link.anonymous_id for link in links if link.contact_id in to_known}
        whole = {link.contact_id for link in links if link.alias and link.anonymous_id in to_known}
        whole |= {link.anonymous_id for link in links if link.alias and link.contact_id in to_known}
        up, down = (claimers | claimed) - from_known, whole - to_known
    return list(found.values())


def _keep_least(held: dict[str, Key], name: str, value: Key) -> None:
    if name not in held or value < held[name]:  # type: ignore[operator]
        held[name] = value
