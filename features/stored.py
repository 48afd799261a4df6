"""The online store's rows as states, those asked for last kept in memory."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

from features.state import ContactState
from features.store import Store
from nextbest.columns import CONTACT_ID

SERVICE = "contact_card"
KEPT = 3_000
"""Stored states kept in memory, those asked for last: some 50 KB each."""


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
