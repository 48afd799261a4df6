"""What fired and is still to be sent to a webhook: taken up for a while, then settled.

Whoever takes a delivery up lets nobody else have it until a moment; a process that is killed meanwhile leaves
it to the next one after that. Of one contact only the first that is not settled is ever taken up, so that an
endpoint hears of a contact in the order things happened.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, Select, bindparam, delete, exists, func, insert, select, update

from features.events._log_engine import writing
from features.events._log_rows import pieces
from features.events._log_tables import COUNTERS, DELIVERIES, TRIGGERS
from features.events.triggers import count_up, event_of

_D, _T = DELIVERIES.c, TRIGGERS.c
OUTCOMES = ("delivered", "failed", "dead")
"""What is counted: events taken in, attempts that failed, events given up."""
_COUNTER = "webhooks_{}"


@dataclass(frozen=True)
class Delivery:
    """An event that is to be sent, and how often that was begun, this time included."""

    event: dict[str, Any]
    attempts: int

    @property
    def position(self) -> int:
        """The event's position, which names the delivery at its endpoint."""
        return int(self.event["position"])


class Deliveries:
    """The deliveries of one database; times are microseconds of the clock on the wall."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def take(self, endpoint: str, at: int, until: int, most: int) -> list[Delivery]:
        """Take up what is due at a moment, one a contact, in order; nobody else gets it before `until`."""
        query = _due(endpoint, at).limit(most)
        with self._engine.connect() as connection:
            if connection.execute(query).first() is None:  # idle, it costs no writer anything
                return []
        with writing(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
            for piece in pieces([row["position"] for row in rows]):
                taken = update(DELIVERIES).where(_D.endpoint == endpoint, _D.position.in_(piece))
                connection.execute(taken.values(attempts=_D.attempts + 1, next_at=until))
        return [_delivery(dict(row)) for row in rows]

    def settle(
        self, endpoint: str, delivered: Sequence[int], dead: Sequence[int], later: Mapping[int, int]
    ) -> None:
        """Settle positions: delivered or given up they go, others are due again at the moment said."""
        with writing(self._engine) as connection:
            for piece in pieces([*delivered, *dead]):
                connection.execute(delete(DELIVERIES).where(_D.endpoint == endpoint, _D.position.in_(piece)))
            if later:
                again = update(DELIVERIES).where(_D.endpoint == endpoint, _D.position == bindparam("which"))
                rows = [{"which": position, "due": due} for position, due in later.items()]
                connection.execute(again.values(next_at=bindparam("due")), rows)
            for name, count in zip(
                OUTCOMES, (len(delivered), len(later) + len(dead), len(dead)), strict=True
            ):
                count_up(connection, _COUNTER.format(name), count)

    def redeliver(self, endpoint: str, ids: Iterable[str]) -> int:
        """Make events due again by their ids; returns how many there still are."""
        found = 0
        with writing(self._engine) as connection:
            for piece in pieces(sorted(set(ids))):
                rows = connection.execute(select(_T.position, _T.contact_id).where(_T.id.in_(piece))).all()
                positions = [row.position for row in rows]
                connection.execute(
                    delete(DELIVERIES).where(_D.endpoint == endpoint, _D.position.in_(positions))
                )
                owed = [
                    {"endpoint": endpoint, "position": position, "contact_id": contact}
                    for position, contact in rows
                ]
                if owed:
                    connection.execute(insert(DELIVERIES).values(attempts=0, next_at=0), owed)
                found += len(owed)
        return found

    def waiting(self, endpoints: Sequence[str]) -> tuple[int, int | None]:
        """Return how many are still to be delivered, and the timestamp (microseconds) of the oldest."""
        query = select(func.count(), func.min(_T.timestamp)).select_from(DELIVERIES).join(
            TRIGGERS, _T.position == _D.position
        )  # fmt: skip
        with self._engine.connect() as connection:
            count, oldest = connection.execute(query.where(_D.endpoint.in_(list(endpoints)))).one()
        return int(count), oldest

    def counts(self) -> dict[str, int]:
        """Return OUTCOMES -> how often, since the log began."""
        names = {_COUNTER.format(name): name for name in OUTCOMES}
        query = select(COUNTERS.c.name, COUNTERS.c.value).where(COUNTERS.c.name.in_(names))
        with self._engine.connect() as connection:
            found = {names[name]: int(value) for name, value in connection.execute(query)}
        return dict.fromkeys(OUTCOMES, 0) | found


def _due(endpoint: str, at: int) -> Select[Any]:
    earlier = DELIVERIES.alias()
    blocked = exists().where(
        earlier.c.endpoint == endpoint,
        earlier.c.contact_id == _D.contact_id,
        earlier.c.position < _D.position,
    )
    due = select(TRIGGERS, _D.attempts).join(DELIVERIES, _T.position == _D.position)
    return due.where(_D.endpoint == endpoint, _D.next_at <= at, ~blocked).order_by(_D.position)


def _delivery(row: dict[str, Any]) -> Delivery:
    attempts = int(row.pop("attempts")) + 1
    return Delivery(event_of(row), attempts)
