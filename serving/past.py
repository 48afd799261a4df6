"""What happened to a contact: month by month, event by event, and which triggers fired."""

from datetime import datetime
from typing import Any

import pandas as pd

from features.events._identity import Person
from features.events.log import EventLog
from features.events.triggers import TriggerLog
from features.history import history_of
from features.recent import recent_events
from nextbest.settings import Settings


class Past:
    """Reads only; what cannot be read raises."""

    def __init__(self, settings: Settings, log: EventLog, triggers: TriggerLog) -> None:
        self._settings, self._log, self._triggers = settings, log, triggers

    def person(self, contact_id: str) -> Person:
        """Return all ids of the person that a contact id belongs to."""
        return self._log.people([contact_id])[0]

    def months(self, person: Person, now: datetime, months: int) -> pd.DataFrame:
        """Return features.history.history_of the person, as the last build left it."""
        return history_of(self._settings, person.contact_id, now, months)

    def events(self, person: Person, now: datetime, days: int) -> list[dict[str, Any]]:
        """Return features.recent.recent_events of the person."""
        return recent_events(self._settings, self._log, person, now, days)

    def triggers(self, person: Person, limit: int) -> list[dict[str, Any]]:
        """Return what fired last, newest first."""
        return self._triggers.of(person.members, limit)
