"""Rankings of a moment ago, for somebody who has done nothing since that they go by."""

import weakref
from collections.abc import Callable, Hashable
from typing import Any

from features.live import APART_FROM_LOOKS
from features.state import ContactView
from models.base import Ranking
from models.catalogue import Catalogue
from models.eligibility import Habit

RANKINGS = "rankings"
"""Note of a state: the rankings kept of it."""
HABITS = "habits"
"""Note of a state: what gates have found out of the purchases."""
MOST = 8
"""Rankings kept of one state."""


class Kept:
    """Keeps what a model gave with the state it was given for (`ContactView.notes`).

    An event, a build or an erasure makes another state (after a look, one that shares what is blind to it);
    a new catalogue or model makes another key. So all that can be old is the clock, by less than `seconds`,
    in what a model sees as days since something.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def of(
        self,
        view: ContactView,
        catalogue: Catalogue,
        asked: Hashable,
        make: Callable[[], Ranking],
        blind: bool = False,
    ) -> Ranking:
        """Return the ranking kept of what was asked, else the one that `make` gives.

        `blind`: `make` does not go by what was only looked at, so the ranking outlives such events.
        """
        notes = (_apart_from_looks(view) if blind else view.notes).setdefault(RANKINGS, {})
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


def habits_of(view: ContactView, catalogue: Catalogue) -> dict[str, Habit]:
    """Return what gates have found out of a contact's purchases, to be added to; looks do not change it."""
    notes = _apart_from_looks(view)
    held = notes.get(HABITS)
    if held is None or held[0]() is not catalogue:
        held = notes[HABITS] = (weakref.ref(catalogue), {})
    found: dict[str, Habit] = held[1]
    return found


def _apart_from_looks(view: ContactView) -> dict[Any, Any]:
    found: dict[Any, Any] = view.notes.setdefault(APART_FROM_LOOKS, {})
    return found
