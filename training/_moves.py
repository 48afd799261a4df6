"""Which of some states (segments, stages) contacts were in at several moments, and the moves between."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.history import contacts_at
from nextbest.columns import CONTACT_ID
from nextbest.errors import NotReady
from nextbest.progress import Progress, silent
from nextbest.settings import Settings

Counts = npt.NDArray[np.int64]
NOT_SEEN = "(not seen yet)"


@dataclass(frozen=True)
class Moves:
    """States of contacts at moments, oldest first."""

    names: tuple[str, ...]
    """The states, best first."""
    moments: tuple[datetime, ...]
    contact_ids: "pd.Index[str]"
    codes: npt.NDArray[np.int8]
    """(contacts, moments): position in `names`; -1 while a contact was not seen yet."""

    @property
    def labels(self) -> list[str]:
        """Name the moments: month ends by month, the last one by its day."""
        return [*(f"{moment:%Y-%m}" for moment in self.moments[:-1]), f"{self.moments[-1]:%Y-%m-%d}"]

    def counts(self) -> Counts:
        """Return (states, moments): how many contacts were in each."""
        columns = [np.bincount(column[column >= 0], minlength=len(self.names)) for column in self.codes.T]
        return np.stack(columns, axis=1).astype(np.int64)

    def between(self, later: int) -> Counts:
        """Return (states + 1, states): contacts by their state before moment `later` and at it.

        The last row are those who were not seen before.
        """
        size = len(self.names)
        before, after = (self.codes[:, place].astype(np.int64) for place in (later - 1, later))
        seen = after >= 0
        pairs = np.where(before < 0, size, before)[seen] * size + after[seen]
        return np.bincount(pairs, minlength=(size + 1) * size).reshape(size + 1, size)

    def matrices(self) -> Iterator[tuple[str, str, Counts]]:
        """Yield for each two neighbouring moments their labels and the moves between them."""
        for later in range(1, len(self.moments)):
            yield self.labels[later - 1], self.labels[later], self.between(later)

    def plain(self) -> list[dict[str, Any]]:
        """Return the moves of each month as JSON has them: from, to, contacts; those who stayed, too."""
        return [
            {
                "since": since,
                "until": until,
                "moves": [
                    {"from": (*self.names, NOT_SEEN)[i], "to": self.names[j], "contacts": int(matrix[i, j])}
                    for i, j in zip(*np.nonzero(matrix), strict=True)
                ],
            }
            for since, until, matrix in self.matrices()
        ]


def moves(
    settings: Settings,
    moments: Sequence[datetime],
    names: Sequence[str],
    state_of: Callable[[pd.DataFrame], Any],
    progress: Progress = silent,
) -> tuple[Moves, pd.DataFrame]:
    """Return the states of everyone at the moments (oldest first), and the contacts at the last one.

    `state_of` names the state of each row of features.history.contacts_at. One moment is read at a time.
    Raises NotReady where nobody had been seen by the last one.
    """
    last = contacts_at(settings, moments[-1])
    if not len(last):
        raise NotReady(f"no contact was seen by {moments[-1]:%Y-%m-%d}; run: nextbest ingest")
    ids = pd.Index(last[CONTACT_ID], dtype=object)
    codes = np.full((len(ids), len(moments)), -1, dtype=np.int8)
    for place, moment in enumerate(moments):
        frame = last if moment == moments[-1] else contacts_at(settings, moment)
        found = pd.Categorical(np.asarray(state_of(frame), dtype=object), categories=list(names)).codes
        codes[ids.get_indexer(frame[CONTACT_ID]), place] = found
        progress("months", place + 1, len(moments))
    return Moves(tuple(names), tuple(moments), ids, codes), last
