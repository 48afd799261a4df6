"""The latest of a person's events, out of lake and log, without reading the whole lake.

The contact table has a row for each moment at which something happened, so it names the days on which a
person did anything: the last so many of them hold at least as many events, and each day is one file.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import pyarrow.parquet as pq

from features.events._identity import Person
from features.events.log import EventLog
from features.tables import table_path
from features.whole import WholeHistory
from nextbest.columns import CONTACT_ID, EVENT_ID, TIMESTAMP
from nextbest.settings import Settings


def recent_events(
    settings: Settings, log: EventLog, person: Person, now: datetime, days: int
) -> list[dict[str, Any]]:
    """Return the events up to `now` of the last `days` UTC days on which the person did anything, in order.

    What the log has is all there, whatever the day; before the first build there is nothing else.
    """
    last = sorted(active_days(settings, person.members, now))[-days:]
    events = WholeHistory(settings, log).events(person, last)
    past = [event for event in events if event[TIMESTAMP] <= now]
    return sorted(past, key=lambda event: (event[TIMESTAMP], event[EVENT_ID]))


def active_days(settings: Settings, contact_ids: Collection[str], now: datetime) -> set[str]:
    """Return the UTC days (ISO) up to `now` on which the last build saw contacts do anything."""
    path = table_path(settings, "contact")
    if not path.exists():
        return set()
    mine = [(CONTACT_ID, "in", set(contact_ids)), (TIMESTAMP, "<=", now)]
    rows = pq.read_table(path, columns=[TIMESTAMP], filters=mine)
    return {moment.date().isoformat() for moment in rows[TIMESTAMP].to_pylist()}
