"""Opens what the answers stand on, keeps it fresh in the background, closes it."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from features.events.lake import Lake
from features.events.log import EventLog
from features.events.triggers import TriggerLog
from features.events.turned_away import TurnedAway
from features.events.writer import Writer
from features.forget import forget
from features.items import items_at
from features.live import LiveContacts
from features.points import Rules as PointRules
from features.state import ContactState, ContactView
from features.tables import table_path
from models.alternatives import alternatives
from models.catalogue import Catalogue
from nextbest.columns import (
    ANONYMOUS_ID,
    CHANNEL,
    CONTACT_ID,
    EVENT,
    ITEM_ID,
    ORDER_REFUNDED,
    SUBSCRIBED,
    TIMESTAMP,
    UNSUBSCRIBED,
)
from nextbest.errors import NextbestError
from nextbest.settings import Settings
from serving.access import Access
from serving.answers import Answers
from serving.book import ContactBook
from serving.budget import Budget
from serving.champions import Champions
from serving.compaction import Compaction
from serving.decisions import DecisionSink
from serving.needs import NeedBook
from serving.parts import Parts
from serving.past import Past
from serving.people import People
from serving.profile import Profiler
from serving.recommend import POPULAR, TRENDING
from serving.shelf import Shelf
from serving.trigger_jobs import gauges
from serving.trigger_watch import TriggerWatch
from serving.triggers import Live

log = logging.getLogger("nextbest.engine")

REFRESH_SECONDS = 5.0
"""How often the background looks whether feature tables or contacts have changed."""
ERASE_PATIENCE = 20.0
"""Seconds that an erasure waits for a build to end."""
PAUSE_SECONDS = 0.01
"""Between rankings that are made ready."""
RECOMMENDERS = ("next-purchase", "basket")
OPTIONAL = ("lifecycle",)
"""Tasks that are answered by rules unless these ask for a champion."""
WORDS = (CONTACT_ID, ANONYMOUS_ID, CHANNEL, TIMESTAMP, EVENT)


class Engine:
    """One process's stores, models and answers. `clock` says what the present is."""

    def __init__(self, settings: Settings, clock: Callable[[], datetime]) -> None:
        # the nets are small: BLAS threads that wait for each other cost twenty times the work itself
        threadpool_limits(1)
        self.settings, self.now = settings, clock
        self.access = Access(settings)
        self.champions = Champions(settings, warm=self._warm_model)
        self.log = EventLog(settings.event_log_url)
        self.triggers = TriggerLog(settings.event_log_url)
        self._trigger_watch: TriggerWatch | None = None
        self.decisions = DecisionSink(self.log.record_decisions)
        self.writer = Writer(self.log.take)
        self.turned_away = TurnedAway(settings.rejects)
        self._compaction = Compaction(self.log, Lake(settings.lake), settings.compact_minutes * 60)
        self.shelf = Shelf(self._load_items, self._items_stamp, self._warm)
        self.book = book_of(settings, self.log)
        self.needs = NeedBook.of(settings, self._refunds)
        self._budget = Budget()
        self._log_error: str | None = None
        self._ready_for: object = None
        self._live = LiveContacts.open(settings, self.log)
        parts = Parts(
            settings,
            People(self._live),
            self.shelf,
            self.champions,
            self._budget,
            self.book,
            self.decisions.put,
            shown=self._shown,
            needs=self.needs,
            past=Past(settings, self.log, self.triggers),
        )
        self.answers = Answers(parts, PointRules.load(settings.rules))
        self.profiler = Profiler(parts)
        self._refresh()
        self.champions.start()
        self._warm_up()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="refresh", daemon=True)
        self._thread.start()

    def missing(self) -> dict[str, str]:
        """Return what is not there, and why; answers fall back where it is not the catalogue."""
        found = {}
        if self.shelf.catalogue() is None:
            found["catalogue"] = (
                self.shelf.error or "no items; run: nextbest ingest …, then nextbest features build"
            )
        if self._log_error:
            found["event_log"] = self._log_error
        if self.book.error:
            found["contacts"] = self.book.error
        if self.champions.registry_error:
            found["registry"] = self.champions.registry_error
        for task, status in self.champions.status().items():
            if status.error and status.error != self.champions.registry_error:
                found[task] = status.error
            elif status.version is None and task not in OPTIONAL:
                found[task] = f"no champion; run: nextbest train {task}"
        return found

    def contact_of(self, anonymous_id: str) -> str | None:
        """Return the one contact an anonymous id belongs to, for callers who may know."""
        return self._live.contact_of(anonymous_id)

    def erase(self, contact_id: str) -> bool:
        """Erase a contact everywhere; tell whether there was anything.

        Raises StoreUnavailable where a build is under way for longer than ERASE_PATIENCE.
        """
        self.decisions.flush()
        erased = forget(self.settings, [contact_id], self.log, ERASE_PATIENCE)
        self._refresh()
        return bool(erased)

    def watch_triggers(self, live: Live) -> None:
        """Watch triggers and deliver them, in the background: what the service does and bulk answers do not.

        `live`: (contact ids, now) -> their profiles as they are this moment.
        """
        self._trigger_watch = TriggerWatch(self.settings, self.log, self.triggers, live, self.now)

    def close(self) -> None:
        """Write what is queued and stop the background."""
        self._stop.set()
        if self._trigger_watch is not None:
            self._trigger_watch.close()
        self._thread.join(5.0)
        self.champions.close()
        self._compaction.close()
        self.writer.close()
        self.decisions.close()
        self._budget.close()
        self.triggers.close()
        self.log.close()

    def _shown(self, contact_id: str, placement: str, since: datetime, until: datetime) -> set[str]:
        """Return what the decision log has of a contact, and what is on its way there."""
        waiting = self.decisions.unwritten(contact_id)  # first: what is written meanwhile is read twice
        found = self.log.shown(contact_id, placement, since, until)
        for row in waiting:
            if row.get("placement") == placement and since <= row["timestamp"] <= until:
                found.update(str(item) for item, *_ in row["shown"])
        return found

    def _refunds(self, contact_id: str) -> dict[str, float]:
        """Return what a contact sent back since the lake was fed: item -> epoch seconds."""
        person = self.log.people([contact_id])[0]
        tail = self.log.tail(sorted(person.members), self.log.fed(Lake(self.settings.lake)))
        return {
            str(event[ITEM_ID]): event[TIMESTAMP].timestamp()
            for event in tail
            if event[EVENT] == ORDER_REFUNDED and event[ITEM_ID] is not None
        }

    def _run(self) -> None:
        self._get_ready()
        while not self._stop.wait(REFRESH_SECONDS):
            self._refresh()
            self._get_ready()

    def _refresh(self) -> None:
        self.shelf.refresh(self.now())
        self.needs.refresh(self.shelf.catalogue(), self.now())
        self.book.refresh()
        self._log_error = self._log_trouble()

    def _log_trouble(self) -> str | None:
        """Return why no event could be stored now, None where it could; waits while others write."""
        try:
            self.log.check()
        except Exception as error:
            return f"the event log cannot be written: {str(error).splitlines()[0]}"
        return None

    def gauges(self) -> dict[str, float]:
        """Return what operations watch and no request counts: metric name -> value."""
        lists = table_path(self.settings, "contact_lists")
        fed = self.log.fed(Lake(self.settings.lake))
        found = {"log_tail_events": float(max(self.log.position() - fed, 0))}
        found |= gauges(self.settings, self.triggers, self.now())
        if lists.exists():
            found["stored_rows_age_seconds"] = max(self.now().timestamp() - lists.stat().st_mtime, 0.0)
        return found

    def _load_items(self, now: datetime) -> tuple[pd.DataFrame, int] | None:
        lists = table_path(self.settings, "contact_lists")
        if not lists.exists():
            return None
        return items_at(self.settings, now), int(pq.read_metadata(lists).num_rows)

    def _get_ready(self) -> None:
        """Bring the contacts seen last into memory, and their rankings, after all that makes them anew.

        In turn with requests, and with pauses, so that none waits for more than one ranking.
        """
        lists, catalogue = table_path(self.settings, "contact_lists"), self.shelf.catalogue()
        loaded = self.champions.get("next-purchase")
        rests_on = (_stamp([lists]), id(catalogue), loaded and loaded.version)
        if rests_on == self._ready_for or not lists.exists():
            return
        seen = pq.read_table(lists, columns=[CONTACT_ID, TIMESTAMP]).sort_by([(TIMESTAMP, "descending")])
        contacts = list(dict.fromkeys(seen[CONTACT_ID].to_pylist()))
        try:
            self._live.warm(contacts)
            for contact in contacts[: self.settings.rank_ahead if self.settings.ranking_seconds else 0]:
                if self._stop.wait(PAUSE_SECONDS):
                    return
                self.answers.rank_ahead(contact, self.now())
            self._ready_for = rests_on
        except Exception as error:
            log.warning("rankings could not be made ready: %s", error)

    def _items_stamp(self) -> object:
        tables = [table_path(self.settings, name) for name in ("item", "contact_lists")]
        return _stamp([*tables, self.settings.lake / "items.parquet"])

    def _warm(self, whole: Catalogue, sellable: Catalogue) -> None:
        """Let the models compute what they keep of a catalogue before a request has to wait for it."""
        alternatives(whole, str(whole.item_ids[0]) if len(whole) else "", 1)
        for catalogue in (whole, sellable):
            for model in (TRENDING, POPULAR):
                model.recommend(_nobody(catalogue), catalogue, 10)
        for task in RECOMMENDERS:
            loaded = self.champions.get(task)
            if loaded is not None:
                loaded.model.recommend(_nobody(whole), whole, 10)

    def _warm_model(self, task: str, model: Any) -> None:
        catalogue = self.shelf.catalogue()
        if task in RECOMMENDERS and catalogue is not None:
            model.recommend(_nobody(catalogue), catalogue, 10)

    def _warm_up(self) -> None:
        """Pay for lazy imports and first connections before the first request."""
        try:
            self._live.get(["nextbest-warm-up"], self.now().timestamp())
            self._live.visitors(["nextbest-warm-up"], self.now().timestamp())
        except NextbestError as error:
            log.warning("contacts cannot be read yet: %s", error)
        except Exception:
            log.exception("contacts cannot be read yet")


def _nobody(catalogue: Catalogue) -> ContactView:
    return ContactState.empty(None).at(catalogue.now)


def book_of(settings: Settings, events: EventLog) -> ContactBook:
    """Return the contacts' book over a state folder."""
    lake = Lake(settings.lake)

    def words() -> pd.DataFrame:
        table = lake.events()
        said = table.filter(table[EVENT].isin((UNSUBSCRIBED, SUBSCRIBED))).select(*WORDS)
        frame: pd.DataFrame = said.execute()
        return frame

    def live_words(contact_ids: Sequence[str], owners: Mapping[str, str]) -> Iterable[Mapping[str, Any]]:
        tail = events.tail(contact_ids, events.fed(lake), sorted(owners))
        told = [event for event in tail if event[EVENT] in (UNSUBSCRIBED, SUBSCRIBED)]
        return [{**event, CONTACT_ID: event[CONTACT_ID] or owners[event[ANONYMOUS_ID]]} for event in told]

    def stamp() -> object:
        return _stamp(
            [settings.lake / "contacts.parquet", settings.lake / "events", settings.lake / "manifest.json"]
        )

    keeps = events.keeps_consents
    return ContactBook(lake.contacts, words, events.contacts, live_words, stamp, events.people, keeps)


def _stamp(paths: Iterable[Path]) -> object:
    """Return what changes when one of the files does."""
    found = []
    for path in paths:
        try:
            stat = path.stat()
            found.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
        except FileNotFoundError:
            found.append((0, 0, 0))
    return tuple(found)
