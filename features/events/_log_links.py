"""Links in the event log: which ids are the same person, and from which position on that was known."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, insert, or_, select

from features.events._identity import Link
from features.events._log_tables import LINKS
from nextbest.columns import ALIAS, ANONYMOUS_ID, CONTACT_ID, TIMESTAMP

LINK_COLUMNS = tuple(LINKS.c[name] for name in Link._fields)
_IDS = 500
"""Ids of each kind in one statement."""
_TOUCHING = select(*LINK_COLUMNS).where(
    or_(
        LINKS.c.anonymous_id.in_(bindparam("anonymous", expanding=True)),
        LINKS.c.contact_id.in_(bindparam("contacts", expanding=True)),
    )
)


def add_links(
    connection: Connection, rows: Iterable[Mapping[str, Any]], positions: Callable[[int], range]
) -> int:
    """Add the links that say something new: an earlier time, or that an id is an alias; returns how many."""
    news: dict[tuple[str, str], tuple[int, bool]] = {}
    for row in rows:
        pair = str(row[ANONYMOUS_ID]), str(row[CONTACT_ID])
        said = int(row[TIMESTAMP] or 0), bool(row.get(ALIAS))
        news[pair] = _both(news[pair], said) if pair in news else said
    for link in touching(connection, anonymous_ids=sorted({anonymous for anonymous, _ in news})):
        pair = link.anonymous_id, link.contact_id
        if pair in news and _both((link.timestamp, link.alias), news[pair]) == (link.timestamp, link.alias):
            del news[pair]
    if news:
        columns = [LINKS.c.anonymous_id, LINKS.c.contact_id, LINKS.c.timestamp, LINKS.c.alias]
        held = [
            dict(zip((c.name for c in columns), (*pair, *said), strict=True)) for pair, said in news.items()
        ]
        numbered = zip(held, positions(len(held)), strict=True)
        connection.execute(insert(LINKS), [row | {"position": position} for row, position in numbered])
    return len(news)


def touching(
    connection: Connection, anonymous_ids: Sequence[str] = (), contact_ids: Sequence[str] = ()
) -> list[Link]:
    """Return the links of any of the anonymous ids, or to any of the contacts, in the order they came."""
    found: set[Link] = set()
    size = max(len(anonymous_ids), len(contact_ids))
    for start in range(0, size, _IDS):
        of, to = anonymous_ids[start : start + _IDS], contact_ids[start : start + _IDS]
        values = {"anonymous": list(of), "contacts": list(to)}
        found.update(Link(*row) for row in connection.execute(_TOUCHING, values).all())
    return sorted(found, key=lambda link: link.position)


def all_links(connection: Connection, until: int | None = None) -> list[Link]:
    """Return every link up to a position."""
    query = select(*LINK_COLUMNS).order_by(LINKS.c.position)
    if until is not None:
        query = query.where(LINKS.c.position <= until)
    return [Link(*row) for row in connection.execute(query).all()]


def _both(one: tuple[int, bool], other: tuple[int, bool]) -> tuple[int, bool]:
    return min(one[0], other[0]), one[1] or other[1]
