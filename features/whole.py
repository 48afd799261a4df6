"""A person's whole history, out of lake and log: for the few whose stored rows no longer hold."""

from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq

from features.events import _duck
from features.events._identity import Person, theirs
from features.events.lake import Lake
from features.events.log import EventLog
from features.tables import table_path
from nextbest.columns import (
    ANONYMOUS_ID,
    CONTACT_ID,
    EVENT,
    EVENT_COLUMNS,
    EVENT_ID,
    ORDER_COMPLETED,
    ORDER_ID,
    RECEIVED_AT,
    TIMESTAMP,
)
from nextbest.settings import Settings

VISITS = "visits"
"""Table of what was done anonymously, where imports brought any."""
_COLUMNS = ("event_id", "event", "timestamp", "anonymous_id", "item_id", "lead", "price", "channel", "url",
            "campaign_id", "message_id")  # fmt: skip


def visits_of(events: Any) -> Any:
    """Return the table of visits from `features._known.known`: what a fold looks at; price is the amount."""
    anonymous = events.filter(events.visit).mutate(price=events.amount)
    return anonymous.select(*_COLUMNS).order_by([ANONYMOUS_ID, TIMESTAMP])


class WholeHistory:
    """Reads only; safe to share between threads."""

    def __init__(self, settings: Settings, log: EventLog) -> None:
        self._lake = Lake(settings.lake)
        self._log = log
        self._visits = table_path(settings, VISITS)

    def visits(self, anonymous_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Return what was done anonymously and may be in the lake only, as of the last build."""
        try:
            if not pq.read_metadata(self._visits).num_rows:
                return []
            found = pq.read_table(self._visits, filters=[(ANONYMOUS_ID, "in", set(anonymous_ids))])
        except FileNotFoundError:
            return []
        return [dict(row) for row in found.to_pylist()]

    def events(self, person: Person, days: Collection[str] | None = None) -> list[dict[str, Any]]:
        """Return every event of the person, each once; `lead` is on the first line of an order.

        `days`: the UTC days (ISO) that are read of the lake; None: all.
        """
        logged = self._log.of_person(person)
        known = {event[EVENT_ID] for event in logged}
        stored = [event for event in self._in_lake(person, days) if theirs(event, person.visitors)]
        events = logged + [event for event in stored if event[EVENT_ID] not in known]
        seen: set[str] = set()
        for event in sorted(events, key=lambda event: (event[TIMESTAMP], event[EVENT_ID])):
            ordered = event[EVENT] == ORDER_COMPLETED and event[ORDER_ID] is not None
            event["lead"] = not ordered or event[ORDER_ID] not in seen
            if ordered:
                seen.add(event[ORDER_ID])
        return events

    def _in_lake(self, person: Person, days: Collection[str] | None) -> list[dict[str, Any]]:
        files = [file for file in self._lake.files() if days is None or file.stem in days]
        if not files:
            return []
        columns = ", ".join(name for name in EVENT_COLUMNS if name != RECEIVED_AT)
        query = f"""{_duck.select(columns, files)}
            WHERE {CONTACT_ID} IN (SELECT unnest($members))
            OR ({CONTACT_ID} IS NULL AND {ANONYMOUS_ID} IN (SELECT unnest($visitors)))"""
        values = {"members": sorted(person.members), "visitors": sorted(person.visitors)}
        with TemporaryDirectory() as spill, _duck.connect(Path(spill)) as connection:
            found: list[dict[str, Any]] = connection.sql(query, params=values).to_arrow_table().to_pylist()
            return found
