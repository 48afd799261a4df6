"""The profile: everything that is said of contacts, a row each, under the names of serving.vocabulary.

Segments, triggers, predictions in bulk and the card's figures read the same columns, worked out by the same
models. In bulk, contacts of whom the event log knows nothing newer than the last build come from its tables,
block by block; the others are folded as the service does it.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.dataset as ds

from features.errors import StoreUnavailable
from features.events.lake import Lake
from features.events.log import EventLog
from features.everyone import counted
from features.live import LiveContacts
from features.points import Rules as PointRules
from features.state import LISTS_AS_OF
from features.tables import require
from features.tags import tags_of
from models.lifecycle import Lifecycle
from models._lifecycle_rules import LifecycleRules
from models.rules import Rules
from nextbest.columns import CHANNELS, CONTACT_FEATURES, CONTACT_ID, TIME_COLUMNS
from nextbest.errors import NotReady
from nextbest.progress import Progress
from nextbest.settings import Settings
from serving.budget import Budget, Skipped
from serving.champions import Champions
from serving.engine import book_of
from serving.parts import Parts
from serving.people import People, Person
from serving.predict import PredictionLadders, rows_of
from serving.schemas import TASKS
from serving.shelf import Shelf

BLOCK = 20_000
"""Contacts worked out at a time."""
LIVE = 500
"""Contacts with news folded at a time."""
TASKS_READ = ("churn", "value", "rfm", "lifecycle", "replenishment")
RFM = {"segment": "segment", "recency": "r", "frequency": "f", "monetary": "m", "score": "rfm_score"}
NO_SEGMENT = "no_orders"
NOT_ONLINE = (
    "some of these contacts did something since the last build, whose rows are not in the online store; "
    "run: nextbest features build"
)


class Profiler:
    """Works out profiles from rows of features. `parts`: an engine's, or those of bulk."""

    def __init__(self, parts: Parts) -> None:
        settings = parts.settings
        self._parts, self._ladders = parts, PredictionLadders(parts)
        self._points = Rules(PointRules.load(settings.rules).thresholds)
        self._lifecycle = LifecycleRules.load(settings.lifecycle)
        self._groups: Mapping[str, Callable[[pd.DataFrame, Collection[str]], pd.DataFrame]] = {
            "features": self._features, "times": self._times, "rfm": self._rfm, "score": self._score,
            "lifecycle": self._stage, "engagement": self._stage, "consent": self._book,
            "reachable": self._book, "tags": self._tags,
        }  # fmt: skip

    def of(self, contact_ids: Sequence[str], now: datetime, columns: Collection[str] = ()) -> pd.DataFrame:
        """Return the profiles of contacts as the event log has them this moment; columns (): all groups."""
        deadline = self._parts.patience(len(contact_ids))
        people = self._parts.people.many(list(contact_ids), now, deadline)
        frame = rows_of(people)
        frame[CONTACT_ID] = list(contact_ids)
        return self.rows(frame, columns, np.array([person.known for person in people], dtype=bool))

    def rows(self, frame: pd.DataFrame, columns: Collection[str], known: Any = None) -> pd.DataFrame:
        """Return the profiles of rows of features; index 0 … n-1. Groups no column is asked of are left out.

        frame: contact_id, CONTACT_FEATURES, TIME_COLUMNS, top_category.
        """
        frame = frame.reset_index(drop=True)
        for name in (*CONTACT_FEATURES, *TIME_COLUMNS):
            if name not in frame.columns:
                frame[name] = np.nan  # of nobody anything is known
        groups = dict.fromkeys(name.partition(".")[0] for name in columns) or {**self._groups, **dict.fromkeys(TASKS)}
        parts = [frame[[CONTACT_ID]]]
        tasks = [task for task in TASKS if task in groups]
        if tasks:
            found = self._ladders.frame(frame, tasks, known)
            parts.append(found.rename(columns=_renamed))
        made = dict.fromkeys(self._groups[group] for group in groups if group in self._groups)
        return pd.concat([*parts, *(make(frame, columns) for make in made)], axis=1)

    def _features(self, frame: pd.DataFrame, columns: Collection[str]) -> pd.DataFrame:
        return _prefixed(frame, "features", CONTACT_FEATURES, columns)

    def _times(self, frame: pd.DataFrame, columns: Collection[str]) -> pd.DataFrame:
        return _prefixed(frame, "times", TIME_COLUMNS, columns)

    def _rfm(self, frame: pd.DataFrame, columns: Collection[str]) -> pd.DataFrame:
        del columns
        try:
            scores = self._parts.champion("rfm").model.score(frame)
        except Skipped:
            scores = pd.DataFrame({name: np.nan for name in RFM.values()}, index=frame.index)
            scores["segment"] = NO_SEGMENT
        return pd.DataFrame({f"rfm.{name}": scores[column] for name, column in RFM.items()})

    def _score(self, frame: pd.DataFrame, columns: Collection[str]) -> pd.DataFrame:
        del columns
        scores = self._points.score(frame)
        return pd.DataFrame({"score.points": scores["rule_score"], "score.stage": scores["stage"]})

    def _stage(self, frame: pd.DataFrame, columns: Collection[str]) -> pd.DataFrame:
        del columns
        scores = self.lifecycle.score(frame)
        return pd.DataFrame(
            {
                "lifecycle.stage": scores["stage"], "engagement.index": scores["index"],
                "engagement.half": scores["half"],
            }
        )  # fmt: skip

    @property
    def lifecycle(self) -> Lifecycle:
        """Return the rules' lifecycle, or the champion where the rules ask for learned cut-offs."""
        loaded = self._parts.champions.get("lifecycle") if self._lifecycle.cutoffs == "learned" else None
        return Lifecycle.chosen(self._lifecycle, loaded and loaded.model)

    def _book(self, frame: pd.DataFrame, columns: Collection[str]) -> pd.DataFrame:
        del columns
        flags = self._parts.book.flags(frame[CONTACT_ID].tolist(), CHANNELS)
        told = {"consent": flags.consent, "reachable": flags.reachable}
        return pd.DataFrame(
            {f"{kind}.{name}": values[:, n] for kind, values in told.items() for n, name in enumerate(CHANNELS)}
        )

    def _tags(self, frame: pd.DataFrame, columns: Collection[str]) -> pd.DataFrame:
        del columns
        found = tags_of(self._parts.settings, frame[CONTACT_ID].tolist())
        told = [found[who].columns() if who in found else {} for who in frame[CONTACT_ID]]
        return pd.DataFrame(told, columns=list(TAG_COLUMNS), index=frame.index).astype(object)


TAG_COLUMNS = ("tags.source", "tags.language", "tags.device", "tags.top_interest")


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
        self.ladders = PredictionLadders(parts)

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
        """Yield the contacts' features, a block at a time, and each contact once: those without news first."""
        news = self._newer()
        same = sorted(contact for contact in contact_ids if contact not in news)
        yield from counted(self._settings, same, now.timestamp(), BLOCK)
        rest = [contact for contact in contact_ids if contact in news]
        for start in range(0, len(rest), LIVE):
            yield self._folded(rest[start : start + LIVE], now)

    def _folded(self, contact_ids: list[str], now: datetime) -> pd.DataFrame:
        asked = ds.field(CONTACT_ID).isin(contact_ids)
        built = ds.dataset(require(self._settings, "contact_lists")).to_table([CONTACT_ID], filter=asked)
        try:
            views = self._live.get(contact_ids, now.timestamp())
        except StoreUnavailable as error:
            raise NotReady(f"{NOT_ONLINE} ({error})") from error
        stored = set(built[CONTACT_ID].to_pylist())
        if any(not view.known for who, view in zip(contact_ids, views, strict=True) if who in stored):
            raise NotReady(NOT_ONLINE)
        return rows_of([Person(view) for view in views]).assign(**{CONTACT_ID: contact_ids})

    def _newer(self) -> set[str]:
        table = ds.dataset(require(self._settings, "contact_lists")).head(1, columns=[LISTS_AS_OF])
        since = int(table[LISTS_AS_OF][0].as_py()) if len(table) else 0
        return self._log.newer(since)

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

    Blocks come by contact_id, but those of contacts with news since the last build at the end. Raises NotReady
    before the first build.
    """
    bulk = Bulk(settings)
    try:
        asked = bulk.everyone() if contact_ids is None else list(dict.fromkeys(contact_ids))
        done = 0
        for block in bulk.rows(asked, now):
            yield bulk.profiler.rows(block, columns)
            done += len(block)
            progress("profiles", done, len(asked))
    finally:
        bulk.close()


def _renamed(name: str) -> str:
    return RENAMED.get(name, name)


RENAMED = {"next_order.value": "next_order.orders", "value.value": "value.next"}


def _prefixed(
    frame: pd.DataFrame, group: str, names: Sequence[str], columns: Collection[str]
) -> pd.DataFrame:
    asked = [name for name in names if not columns or f"{group}.{name}" in columns]
    return frame[asked].add_prefix(f"{group}.")
