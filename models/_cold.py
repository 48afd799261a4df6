"""Embeddings of items nobody has bought yet, from what is known of them: category path, brand and price.

An attribute-to-factor mapping (Gantner et al., ICDM 2010) by additive shrinkage: the mean of all items,
and on top of it what each level of the path, then the brand, then the price within the category add. Each
part is the mean of what the parts before it left over, drawn to nothing where few items share it.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from models.catalogue import Catalogue

Floats32 = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

PRIOR_ITEMS = 3.0
"""Items a group counts for when its mean is drawn to what the groups before it say."""
PRICE_BANDS = 3
"""Parts that each category's items are cut into by price."""


def cold_embeddings(catalogue: Catalogue, known: Rows, table: Floats32, cold: Rows) -> Floats32:
    """Return embeddings (cold, C) of catalogue rows `cold`, from `table` (known, C): those of `known`."""
    both = np.concatenate([known, cold])
    mean = table.mean(axis=0)
    left, made = table - mean, np.tile(mean, (len(cold), 1))
    for groups in _attributes(catalogue, both):
        number, size = np.unique(groups, return_inverse=True)[1], int(groups.max(initial=0)) + 1
        inside, outside = number[: len(known)], number[len(known) :]
        sums = np.zeros((size, table.shape[1]), dtype=np.float32)
        np.add.at(sums, inside, left)
        count = np.bincount(inside, minlength=size)[:, None]
        part = (sums / (count + PRIOR_ITEMS)).astype(np.float32)
        left, made = left - part[inside], made + part[outside]
    return made.astype(np.float32)


def _attributes(catalogue: Catalogue, rows: Rows) -> Iterator[Rows]:
    """Yield the group each row is in, from the coarsest attribute to the finest."""
    paths = [str(path).split("/") for path in catalogue.paths[rows]]
    for depth in range(1, max(map(len, paths), default=0) + 1):
        yield _numbered(["/".join(path[:depth]) for path in paths])
    yield _numbered([str(brand) for brand in catalogue.brands[rows]])
    bands = _price_bands(catalogue)[rows]
    yield _numbered(
        [f"{category}\n{band}" for category, band in zip(catalogue.paths[rows], bands, strict=True)]
    )


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
