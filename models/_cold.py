"""How likely a contact buys what nobody bought yet, by its category path, brand and price.

A new item is taken to be bought like the average item of its kind: the mean share that the contact's own
purchases give the items of its group, drawn to that of the wider group where few items share it; level by
level of the path, then its brand, then its price within them. Nothing is learned for it: attributes mapped
to the net's embeddings hardly told contacts apart (docs/decisions.md).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.catalogue import Catalogue

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

PRIOR_ITEMS = 5.0
"""Items a group counts for when its mean is drawn to that of the wider group."""
PRICE_BANDS = 3
"""Parts that each category's items are cut into by price."""


@dataclass(frozen=True)
class _Level:
    known: Rows
    """The group of each known item."""
    cold: Rows
    """The group of each new item."""
    size: Rows
    """Known items of each group."""


class Newcomers:
    """New items beside the known ones that are alike."""

    def __init__(self, catalogue: Catalogue, known: Rows, cold: Rows) -> None:
        """Catalogue rows; `known` of the items that purchases are numbered by, -1 for none."""
        self._levels = []
        here = known >= 0
        for groups in _attributes(catalogue, np.concatenate([known[here], cold])):
            inside = np.full(len(known), groups.max(initial=0) + 1)  # a group of their own: not on the shelf
            inside[here], outside = groups[: here.sum()], groups[here.sum() :]
            self._levels.append(_Level(inside, outside, np.bincount(inside, minlength=groups.max() + 2)))

    def shares(self, bought: Rows, times: Floats) -> Floats:
        """Return for each new item the share of purchases expected, after `bought` so many `times`."""
        share = np.full(len(self._levels[0].cold), 1.0 / max(len(self._levels[0].known), 1))
        for level in self._levels:
            count = np.bincount(level.known[bought], times, len(level.size))
            own = count[level.cold] / max(float(times.sum()), 1e-12)
            share = (own + PRIOR_ITEMS * share) / (level.size[level.cold] + PRIOR_ITEMS)
        return share


def _attributes(catalogue: Catalogue, rows: Rows) -> Iterator[Rows]:
    """Yield the group each row is in, from the coarsest attribute to the finest."""
    paths = [str(path).split("/") for path in catalogue.paths[rows]]
    for depth in range(1, max(map(len, paths), default=0) + 1):
        yield _numbered(["/".join(path[:depth]) for path in paths])
    branded = [f"{p}\n{b}" for p, b in zip(catalogue.paths[rows], catalogue.brands[rows], strict=True)]
    yield _numbered(branded)
    yield _numbered([f"{b}\n{band}" for b, band in zip(branded, _price_bands(catalogue)[rows], strict=True)])


def _numbered(names: list[str]) -> Rows:
    return np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)[1].astype(np.int64)


def _price_bands(catalogue: Catalogue) -> Rows:
    """Return for each item the band of its price among those of its path; -1 where the price is unknown."""
    path = _numbered([str(name) for name in catalogue.paths])
    known = np.flatnonzero(np.isfinite(catalogue.prices))
    order = known[np.lexsort((catalogue.prices[known], path[known]))]
    first = np.searchsorted(path[order], path[order], side="left")
    size = np.searchsorted(path[order], path[order], side="right") - first
    bands = np.full(len(catalogue), -1, dtype=np.int64)
    bands[order] = (np.arange(len(order)) - first) * PRICE_BANDS // np.maximum(size, 1)
    return bands
