"""What happened to each simulated contact and when, asked at any moment."""

from typing import Self

import numpy as np
import numpy.typing as npt

from benchmarks._world_settings import DAY

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
ROWS = 50_000
"""Contacts asked about at once: bounds the memory of the arrays in between."""


class Timeline:
    """Events of contacts, padded to the longest life; at a moment, what lies strictly before it counts."""

    def __init__(self, times: Floats, labels: Ints, weights: Floats) -> None:
        self._times, self._labels, self._weights = times, labels, weights

    @classmethod
    def of(
        cls, contacts: int, contact: Ints, time: Floats, label: Ints, weight: Floats | None = None
    ) -> Self:
        """Sort events of contacts 0 … contacts - 1 by contact and time."""
        order = np.lexsort((time, contact))
        row = contact[order]
        first = np.searchsorted(row, np.arange(contacts))
        place = np.arange(len(row)) - first[row]
        shape = (contacts, int(place.max(initial=0)) + 1)
        times, labels, weights = np.full(shape, np.inf), np.full(shape, -1), np.zeros(shape)
        times[row, place], labels[row, place] = time[order], label[order]
        weights[row, place] = 1.0 if weight is None else weight[order]
        return cls(times, labels, weights)

    def sums(
        self, contact: Ints, at: Floats, labels: int, half_life: float | None = None, since: float = np.inf
    ) -> Floats:
        """Return the weights by label, shape (contact, labels).

        half_life: in days, None without decay. since: only events of that many seconds before `at`.
        """
        out = np.zeros((len(contact), labels))
        for start in range(0, len(contact), ROWS):
            part = slice(start, start + ROWS)
            rows, now = contact[part], at[part, None]
            age = now - self._times[rows]
            kept = np.where((age > 0) & (age <= since), self._weights[rows], 0.0)
            if half_life is not None:
                kept *= 0.5 ** (np.where(age > 0, age, 0.0) / (half_life * DAY))
            for label in range(labels):
                out[part, label] = (kept * (self._labels[rows] == label)).sum(axis=1)
        return out

    def last(self, contact: Ints, at: Floats, labels: int) -> Floats:
        """Return when the latest event of each label was, -inf: never; shape (contact, labels)."""
        out = np.empty((len(contact), labels))
        for start in range(0, len(contact), ROWS):
            part = slice(start, start + ROWS)
            rows, now = contact[part], at[part, None]
            past = np.where(self._times[rows] < now, self._times[rows], -np.inf)
            for label in range(labels):
                out[part, label] = np.where(self._labels[rows] == label, past, -np.inf).max(axis=1)
        return out
