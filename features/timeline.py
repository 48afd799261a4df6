"""Entries by owner and time, searched for many (owner, moment) at once."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

Ints = npt.NDArray[np.int64]


class Timeline:
    """Entries sorted by owner, then time; owners are numbers from 0, times of any one unit."""

    def __init__(self, owner: Ints, times: npt.NDArray[Any]) -> None:
        # owner and time as one number: the time's rank keeps the product within 64 bits
        self._times = np.unique(times)
        self._line = self._place(owner, times, "left")

    def place(self, owner: Ints, moments: npt.NDArray[Any], side: Literal["left", "right"]) -> Ints:
        """Return the place after each owner's last entry before a moment; "right": before or at it."""
        return np.searchsorted(self._line, self._place(owner, moments, side), side="left")

    def _place(self, owner: Ints, moments: npt.NDArray[Any], side: Literal["left", "right"]) -> Ints:
        return owner * (len(self._times) + 1) + np.searchsorted(self._times, moments, side=side)


def codes(asked: "pd.Series[Any]", held: "pd.Series[Any]") -> tuple[Ints, Ints]:
    """Return the values of both as numbers from 0, those asked for first."""
    found, _ = pd.factorize(pd.concat([asked, held], ignore_index=True))
    return found[: len(asked)].astype(np.int64), found[len(asked) :].astype(np.int64)
