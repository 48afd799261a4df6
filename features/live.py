"""Contacts as they are now: the stored row, and the event log's tail since, folded."""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import pyarrow.parquet as pq

from features.fold import fold
from features.points import Rules
from features.state import ContactState, ContactView
from features.store import Store
from features.tables import table_path
from nextbest.columns import ANONYMOUS_ID, CONTACT_ID
from nextbest.settings import Settings

SERVICE = "contact_card"
FOLDED = "folded"
"""Note of a state: what its events since have made of it."""
WARMED = 25
"""Rows of a batch: a request that waits for one waits some milliseconds."""
KEPT = 3_000
"""Stored states kept in memory, those asked for last: some 50 KB each."""


class Tail(Protocol):
    """What is asked of the event log (features.events.log.EventLog)."""

    def tail(
        self, contact_ids: Sequence[str], since: int, anonymous_ids: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """Return the ids' events with position > since, oldest position first."""


class Stored:
    """Stored states as the online store has them this moment; those asked for last are kept in memory.

    A state changes only when a build or an erasure writes, and then the store's stamp is another: what is
    kept was read under the stamp of now. Without a stamp nothing is kept.
    """

    def __init__(self, store: Store, most: int = KEPT) -> None:
        self._store, self._most = store, most
        self._stamp: object | None = None
        self._kept: OrderedDict[str, ContactState] = OrderedDict()
        self._lock = Lock()

    def get(self, contact_ids: Sequence[str]) -> list[ContactState]:
        """Return each contact's state, an empty one (`known` False) where no row is stored."""
        stamp = (
            self._store.stamp()
        )  # before the rows: what is written meanwhile makes them old, not the reverse
        with self._lock:
            if stamp is None or stamp != self._stamp:
                self._kept.clear()
                self._stamp = stamp
            found = {contact: self._kept[contact] for contact in contact_ids if contact in self._kept}
            for contact in found:
                self._kept.move_to_end(contact)
        missing = [contact for contact in contact_ids if contact not in found]
        read = dict(zip(missing, map(_state, missing, self._store.online(SERVICE, missing)), strict=True))
        with self._lock:
            if stamp is not None and stamp == self._stamp:
                self._kept.update(read)
                while len(self._kept) > self._most:
                    self._kept.popitem(last=False)
        return [found[contact] if contact in found else read[contact] for contact in contact_ids]


def _state(contact_id: str, row: Mapping[str, Any] | None) -> ContactState:
    if row is None:
        return ContactState.empty(contact_id)
    return ContactState.from_row({**row, CONTACT_ID: contact_id})


class LiveContacts:
    """Reads only; safe to share between threads.

    Visits before the last build that were linked to a contact after it count from the next build.
    """

    def __init__(
        self, store: Store, log: Tail, points_rules: Rules, paths: Callable[[], Mapping[str, str]] = dict
    ) -> None:
        """`paths` returns item_id -> category path; called for every fold, so it had better remember."""
        self._stored = Stored(store)
        self._log = log
        self._rules = points_rules
        self._paths = paths

    @classmethod
    def open(cls, settings: Settings) -> "LiveContacts":
        """Put together from the state folder."""
        from features.events.log import EventLog

        rules = Rules.load(settings.rules)
        return cls(Store(settings), EventLog(settings.event_log_url), rules, ItemPaths(settings))

    def get(self, contact_ids: Sequence[str], now: float, stored: bool = True) -> list[ContactView]:
        """Return each contact at `now` (epoch seconds), events acknowledged before this call included.

        A contact without a stored row (`known` False) is folded from the log alone; so is everyone with
        stored=False, for when the store fails. Raises StoreUnavailable, and NotReady before the first build.
        """
        states = self._stored.get(contact_ids) if stored else [ContactState.empty(i) for i in contact_ids]
        tails = self._tails(states)
        return [self._folded(state, tails[state.contact_id]).at(now) for state in states]

    def warm(self, contact_ids: Sequence[str]) -> None:
        """Read stored states into memory, as many as are kept: in batches that costs a third."""
        for start in range(0, min(len(contact_ids), KEPT), WARMED):
            self._stored.get(contact_ids[start : start + WARMED])

    def visitors(self, anonymous_ids: Sequence[str], now: float) -> list[ContactView]:
        """Return visitors nobody knows, from what the log holds of them; contact_id is None."""
        tails = _by(ANONYMOUS_ID, self._log.tail([], 0, anonymous_ids))
        return [self._fold(ContactState.empty(None), tails[visitor]).at(now) for visitor in anonymous_ids]

    def _tails(self, states: Iterable[ContactState]) -> Mapping[str | None, list[dict[str, Any]]]:
        asked: dict[int, list[str]] = defaultdict(list)
        for state in states:
            asked[min(state.as_of, state.lists_as_of)].append(str(state.contact_id))
        return _by(
            CONTACT_ID, [event for since, ids in asked.items() for event in self._log.tail(ids, since)]
        )

    def _folded(self, state: ContactState, events: list[dict[str, Any]]) -> ContactState:
        """Fold, or return what folding the same events into the same state gave before."""
        if not events:
            return state
        paths, positions = self._paths(), [event["position"] for event in events]
        held = state.notes.get(FOLDED)
        if held is not None and held[0] == positions and held[1] is paths:
            known: ContactState = held[2]
            return known
        folded = fold(state, events, self._rules, paths)
        state.notes[FOLDED] = (positions, paths, folded)
        return folded

    def _fold(self, state: ContactState, events: list[dict[str, Any]]) -> ContactState:
        return fold(state, events, self._rules, self._paths()) if events else state


class ItemPaths:
    """item_id -> category path as of the last build; read again when a build has replaced it."""

    def __init__(self, settings: Settings) -> None:
        self._file: Path = table_path(settings, "item_paths")
        self._stamp: tuple[int, int] | None = None
        self._paths: dict[str, str] = {}

    def __call__(self) -> Mapping[str, str]:
        """Return the mapping; empty before the first build."""
        stamp = self._stat()
        if stamp != self._stamp:
            table = pq.read_table(self._file, columns=["item_id", "path"]) if stamp else None
            columns = (table["item_id"].to_pylist(), table["path"].to_pylist()) if table else ([], [])
            self._paths, self._stamp = dict(zip(*columns, strict=True)), stamp
        return self._paths

    def _stat(self) -> tuple[int, int] | None:
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino


def _by(column: str, events: Iterable[dict[str, Any]]) -> Mapping[str | None, list[dict[str, Any]]]:
    groups: dict[str | None, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        groups[event[column]].append(event)
    return groups
