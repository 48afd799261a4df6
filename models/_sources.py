"""Further sources of candidates, each a model of its own: what one must offer to be merged and ranked.

A new one is a model with `columns`, `tied` and the three methods of every model, named in SOURCES; the job
learns it. A source that is missing leaves its columns unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from models._shelf import Rows, Shelf
from models.base import Floats, Model, Shopper


@dataclass(frozen=True)
class Asked:
    """What a source says to one shopper."""

    offered: Rows
    """Catalogue rows it proposes."""
    scores: Floats
    """(columns, items of the source): what it says of each."""
    numbers: Rows
    """Each catalogue row's number among the items of the source, -1: unknown to it."""

    def of(self, rows: Rows) -> Floats:
        """Return (columns, rows), 0 for what the source does not know."""
        numbers = self.numbers[rows]
        return np.where(numbers >= 0, self.scores[:, numbers], 0.0)


class Tied(Protocol):
    """A source tied to a shelf: its own numbers are catalogue rows."""

    def ask(self, shopper: Shopper, context: Sequence[str]) -> Asked | None:
        """Say what it knows; None: nothing of this shopper."""


@runtime_checkable
class Source(Model, Protocol):
    """A model that proposes items and says something of each."""

    columns: ClassVar[tuple[str, ...]]
    """Features it gives a candidate."""

    def tied(self, shelf: Shelf) -> Tied:
        """Return it with its item numbers turned into rows of the shelf."""


def numbered(rows: Rows, size: int) -> Rows:
    """Turn the catalogue row of each number into the number of each of `size` rows, -1: none."""
    numbers = np.full(size, -1, dtype=np.int64)
    known = np.flatnonzero(rows >= 0)
    numbers[rows[known]] = known
    return numbers


def best(scores: Floats, k: int) -> Rows:
    """Return the places of the k highest scores above 0, in no order."""
    found = np.flatnonzero(scores > 0)
    if len(found) > k:
        found = found[np.argpartition(-scores[found], k)[:k]]
    return found
