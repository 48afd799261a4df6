"""Paths as a source of candidates: what those who walked the shopper's path bought, and their chances."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from models._path_tree import ROOT
from models._shelf import Rows, Shelf
from models._sources import Asked, numbered
from models.base import Floats, Reason, Shopper

if TYPE_CHECKING:
    from models.paths import Paths

OFFERED = 30
"""Items proposed at most, of those bought more often on the path than elsewhere."""
TELLING = 1.5
"""Lift from which a path is the reason for an item."""


@dataclass(frozen=True)
class Known:
    """A node's items on a shelf: parallel but for `number`."""

    rows: Rows
    shares: Floats
    lifts: Floats
    number: Rows
    """Each catalogue row's place among them, -1: not bought on the path."""


@dataclass(frozen=True)
class AskedPaths(Asked):
    """What a path says: the same of all items of a category, but for their own share."""

    paths: "Paths"
    node: int
    features: dict[str, Floats]
    """By category of the shelf."""
    codes: Rows
    """Each catalogue row's category."""
    known: Known

    def of(self, rows: Rows) -> Floats:
        """Return (columns, rows): Paths.columns, each as a part of the best, and Paths.plain."""
        place, codes = self.known.number[rows], self.codes[rows]
        share = np.where(place >= 0, np.r_[self.known.shares, 0.0][place], 0.0)
        chances, *plain = self.features.values()
        said = np.stack([chances[codes], share])
        peaks = np.array([[chances.max(initial=0.0)], [self.known.shares.max(initial=0.0)]])
        return np.concatenate([said, said / np.maximum(peaks, 1e-12), [values[codes] for values in plain]])

    def reason(self, row: int) -> Reason | None:
        """Say that those who walked this path bought the item, where they did so more than others."""
        place = int(self.known.number[row])
        if place < 0 or self.known.lifts[place] < TELLING:
            return None
        share, lift = float(self.known.shares[place]), float(self.known.lifts[place])
        return self.paths.reason(self.node, share, share / lift)


@dataclass(frozen=True)
class TiedPaths:
    """Paths whose items and categories are those of a shelf."""

    paths: "Paths"
    shelf: Shelf
    numbers: Rows
    """The paths' number of each category of the shelf."""
    _known: dict[int, Known] = field(default_factory=dict)

    def ask(self, shopper: Shopper, context: Sequence[str]) -> AskedPaths | None:
        """Say where the shopper's path leads; None for someone on no path."""
        walked = self.paths.walked(shopper)
        node = self.paths.reached(walked, self.shelf.catalogue, context)
        if not walked.steps and node == ROOT:
            return None
        known = self._of(node)
        telling = np.flatnonzero(known.lifts > 1.0)[:OFFERED] if node != ROOT else _NONE
        return AskedPaths(
            known.rows[telling],
            np.empty((len(self.paths.columns), 0)),  # said by `of`, category by category
            known.number,
            self.paths,
            node,
            self.paths.features_at(node, walked, self.numbers),
            self.shelf.category_codes,
            known,
        )

    def _of(self, node: int) -> Known:
        if node not in self._known:
            found = self.paths.bought(node)
            rows = self.shelf.rows_of(found.items)
            held = rows >= 0
            rows, lifts = rows[held], found.shares[held] / found.bases[held]
            number = numbered(rows, len(self.shelf.catalogue))
            self._known[node] = Known(rows, found.shares[held], lifts, number)
        return self._known[node]


_NONE = np.empty(0, dtype=np.int64)
