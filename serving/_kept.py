"""Rankings of a moment ago, for somebody who has done nothing since."""

import weakref
from collections.abc import Callable, Hashable

from features.state import ContactView
from models.base import Ranking
from models.catalogue import Catalogue

MOST = 8
"""Rankings kept of one state."""


class Kept:
    """Keeps what a model gave with the state it was given for (`ContactView.notes`).

    An event, a build or an erasure makes another state, and a new catalogue or model another key; so all that
    can be old is the clock, by less than `seconds`, in what a model sees as days since something.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def of(
        self, view: ContactView, catalogue: Catalogue, asked: Hashable, make: Callable[[], Ranking]
    ) -> Ranking:
        """Return the ranking kept of what was asked, else the one that `make` gives."""
        notes = view.notes
        held = notes.get(asked)
        if held is not None and held[1]() is catalogue and 0 <= view.now - held[0] < self._seconds:
            kept: Ranking = held[2]
            return kept
        made = make()
        if self._seconds:
            while len(notes) >= MOST:
                notes.pop(next(iter(notes)), None)
            notes[asked] = (view.now, weakref.ref(catalogue), made)
        return made
