"""Profiles in bulk: out of the last build's tables, or folded for those of whom the log knows news."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

import pandas as pd
import pyarrow.dataset as ds

from features.events.log import EventLog
from features.everyone import counted
from features.live import LiveContacts
from features.tables import require
from nextbest.columns import CONTACT_ID
from nextbest.progress import Progress
from nextbest.settings import Settings
from serving._built import LIVE_SIZE, counted_until, live_views
from serving.budget import Budget
from serving.champions import Champions
from serving.engine import book_of
from serving.parts import Parts
from serving.people import People, Person
from serving.predict import rows_of
from serving.profile import Profiler
from serving.shelf import Shelf

BLOCK = 20_000
"""Contacts worked out at a time."""
TASKS_READ = ("churn", "value", "rfm", "lifecycle")


class Bulk:
    """The parts of the service that profiles need, and nothing else: it starts quickly and stays small."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._log = EventLog(settings.event_log_url)
        self._champions = Champions(settings, tasks=TASKS_READ)
        self._champions.refresh()
        book = book_of(settings, self._log)
        book.refresh()
        self._budget = Budget()
        self._live = LiveContacts.open(settings, self._log)
        parts = Parts(
            settings, People(self._live), Shelf(lambda _: None), self._champions, self._budget, book,
            lambda _: None,
        )  # fmt: skip
        self.profiler = Profiler(parts)

    def close(self) -> None:
        """Let the log go."""
        self._champions.close()
        self._budget.close()
        self._log.close()

    def everyone(self) -> list[str]:
        """Return the contacts of the last build and those the log has brought since, sorted."""
        table = ds.dataset(require(self._settings, "contact_lists")).to_table([CONTACT_ID])
        return sorted({*table[CONTACT_ID].to_pylist(), *self._newer_contacts()})

    def rows(self, contact_ids: Sequence[str], now: datetime) -> Iterator[pd.DataFrame]:
        """Yield the contacts' features, a block at a time: those without news first."""
        news = self._newer()
        same = sorted(contact for contact in contact_ids if contact not in news)
        yield from counted(self._settings, same, now.timestamp(), BLOCK)
        rest = [contact for contact in contact_ids if contact in news]
        for start in range(0, len(rest), LIVE_SIZE):
            yield self._folded(rest[start : start + LIVE_SIZE], now)

    def _folded(self, contact_ids: list[str], now: datetime) -> pd.DataFrame:
        views = live_views(self._settings, self._live, contact_ids, now.timestamp())
        return rows_of([Person(view) for view in views]).assign(**{CONTACT_ID: contact_ids})

    def _newer(self) -> set[str]:
        return self._log.newer(counted_until(self._settings))

    def _newer_contacts(self) -> set[str]:
        """Return who of those with news is a contact by its own id: neither a visitor nor an earlier id."""
        newer = sorted(self._newer())
        people = {person.contact_id for person in self._log.people(newer)} if newer else set()
        if not people:
            return set()
        named = self._log.tail(sorted(people), 0, [])
        told = {str(event[CONTACT_ID]) for event in named if event[CONTACT_ID] is not None}
        return people & (told | set(self._log.contacts(sorted(people))[CONTACT_ID]))


def profiles(
    settings: Settings,
    now: datetime,
    contact_ids: Sequence[str] | None,
    columns: Collection[str],
    progress: Progress,
) -> Iterator[pd.DataFrame]:
    """Yield contacts' profiles in blocks: contact_id and at least these columns; ids None: everyone's.

    Blocks come by contact_id, but those of contacts with news since the last build at the end. Raises
    NotReady before the first build.
    """
    bulk = Bulk(settings)
    try:
        asked = bulk.everyone() if contact_ids is None else list(dict.fromkeys(contact_ids))
        done = 0
        for block in bulk.rows(asked, now):
            yield bulk.profiler.rows(block, now, columns)
            done += len(block)
            progress("profiles", done, len(asked))
    finally:
        bulk.close()
