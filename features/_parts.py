"""A person's events in parts: those each stored row has counted up to its position, and those in none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from features.events._identity import NEVER, Graph, Person
from features.state import ContactState


@dataclass(frozen=True)
class Part:
    """A state, and whose events it is of."""

    state: ContactState
    contacts: frozenset[str]
    visitors: Mapping[str, int | None]


def parts_of(person: Person, rows: Sequence[ContactState], graph: Graph) -> list[Part] | None:
    """Return parts that hold every event of the person once; None where the rows hold what is not theirs.

    A row has counted whose ids belonged to its contact by the links up to its position. `rows`: of the
    person's members, their `as_of` and `lists_as_of` alike where a link speaks of them.
    """
    parts: list[Part] = []
    contacts: set[str] = set()
    visitors: set[str] = set()
    for row in sorted(rows, key=lambda row: -row.as_of):
        if row.contact_id in contacts:
            continue  # a newer row has it in; a build is about to take this one away
        linked = graph.touches(str(row.contact_id))
        then = graph.until(row.as_of).person(str(row.contact_id)) if linked else person
        taken = {v for v, until in then.visitors.items() if person.visitors.get(v, NEVER) != until}
        if then.contact_id != row.contact_id or taken or not then.members <= person.members - contacts:
            return None
        if visitors & then.visitors.keys():
            return None
        contacts |= then.members
        visitors |= then.visitors.keys()
        parts.append(Part(row, then.members, then.visitors))
    rest = {visitor: until for visitor, until in person.visitors.items() if visitor not in visitors}
    if rest or contacts != person.members:
        empty = ContactState.empty(person.contact_id)
        parts.append(Part(empty, person.members - contacts, rest))
    return parts
