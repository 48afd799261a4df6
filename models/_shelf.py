"""What the recommenders derive from a catalogue, computed once a catalogue and kept with it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from models.catalogue import Catalogue, inside

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

PRIOR_BUYERS = 20.0
"""Buyers a category's rate counts for when an item's own is shrunk to it, and all items' likewise."""
PRIOR_SALES = 5.0
"""Sales added to both sides of a trend, so that a handful of them makes none."""


def shelf_of(catalogue: Catalogue) -> "Shelf":
    """Return the catalogue's shelf, the same one every time."""
    kept = vars(
        catalogue
    )  # where cached_property keeps its values too; the dataclass is frozen but not slotted
    if "_shelf" not in kept:
        kept["_shelf"] = Shelf(catalogue)
    shelf: Shelf = kept["_shelf"]
    return shelf


@dataclass(frozen=True)
class Shelf:
    """Orders, trends and repurchase habits of the items; every array has one entry an item."""

    catalogue: Catalogue
    _orders: dict[str, Rows] = field(default_factory=dict)
    _shares: dict[str, Floats] = field(default_factory=dict)
    _values: dict[str, Floats] = field(default_factory=dict)
    _within: dict[tuple[str, str], Floats] = field(default_factory=dict)
    _inside: dict[str, Rows] = field(default_factory=dict)

    def statistic(self, column: str) -> Floats:
        """Return an item statistic or the trend, 0 where unknown."""
        if column not in self._values:
            values = self.trend if column == "trend" else self.catalogue.statistics[column]
            self._values[column] = np.nan_to_num(values, nan=0.0)
        return self._values[column]

    def share(self, column: str) -> Floats:
        """Return each item's part of a statistic's sum over all items."""
        if column not in self._shares:
            values = self.statistic(column)
            self._shares[column] = values / max(float(values.sum()), 1e-300)
        return self._shares[column]

    def share_within(self, column: str, category: str) -> Floats:
        """Return each item's part of its category's sum, in the order of `by(column, category)`."""
        key = column, category
        if key not in self._within:
            values = self.statistic(column)[self.by(column, category)]
            self._within[key] = values / max(float(values.sum()), 1e-300)
        return self._within[key]

    def by(self, column: str, category: str | None = None) -> Rows:
        """Return the rows by falling statistic, those of one category if given; equal ones by item_id."""
        key = column if category is None else f"{column}\n{category}"
        if key not in self._orders:
            self._orders[key] = self._sorted(column, category)
        return self._orders[key]

    def _sorted(self, column: str, category: str | None) -> Rows:
        everything = np.arange(len(self.catalogue), dtype=np.int64)
        none = np.empty(0, dtype=np.int64)
        rows = everything if category is None else self.catalogue.rows_in_category.get(category, none)
        values = self.statistic(column)[rows]
        return rows[np.lexsort((self.name_order[rows], -values))]

    @cached_property
    def name_order(self) -> Rows:
        """Place of each item among all item_ids in order of their text: what breaks ties."""
        order = np.argsort(self.catalogue.item_ids.astype(str), kind="stable")
        places = np.empty(len(order), dtype=np.int64)
        places[order] = np.arange(len(order))
        return places

    def alike(self, row: int, item_id: str) -> bool:
        """Tell whether a row's item and another are of the same category."""
        other = self.catalogue.index.get(item_id)
        category = self.catalogue.categories[row]
        return other is not None and bool(category) and category == self.catalogue.categories[other]

    @cached_property
    def category_codes(self) -> Rows:
        """Number of each item's category in `category_names`."""
        names = {name: code for code, name in enumerate(self.category_names)}
        return np.array([names[str(name)] for name in self.catalogue.categories], dtype=np.int64)

    @cached_property
    def path_codes(self) -> Rows:
        """Number of each item's whole category path."""
        return np.unique(self.catalogue.paths.astype(str), return_inverse=True)[1].astype(np.int64)

    @cached_property
    def rows_by_path(self) -> dict[str, Rows]:
        """Map each whole category path to the rows that have it."""
        codes = self.path_codes
        order = np.argsort(codes, kind="stable")
        bounds = np.flatnonzero(np.diff(codes[order], prepend=-1, append=-1))
        paths = self.catalogue.paths
        return {str(paths[order[start]]): order[start:stop] for start, stop in pairwise(bounds)}

    def rows_inside(self, path: str) -> Rows:
        """Return the rows at or below a category path, rising."""
        if path not in self._inside:
            found = [rows for p, rows in self.rows_by_path.items() if inside(p, path)]
            self._inside[path] = np.sort(np.concatenate([np.empty(0, dtype=np.int64), *found]))
        return self._inside[path]

    @cached_property
    def category_names(self) -> list[str]:
        """The categories in order of their names."""
        return sorted(self.catalogue.rows_in_category)

    @cached_property
    def trend(self) -> Floats:
        """Sales of the last week over what the last quarter's rate would give, both smoothed; 1: steady."""
        week = np.nan_to_num(self.catalogue.statistics["sold_7d"])
        quarter = np.nan_to_num(self.catalogue.statistics["sold_90d"])
        # a steady rate r gives a counter of half-life h the value r * h / ln 2
        return (week + PRIOR_SALES) / (quarter * 7.0 / 90.0 + PRIOR_SALES)

    @cached_property
    def repurchase_rate(self) -> Floats:
        """Share of an item's buyers who bought it again, shrunk to its category's, and that to all items'."""
        buyers = np.nan_to_num(self.catalogue.statistics["buyers"])
        again = np.nan_to_num(self.catalogue.statistics["repeat_buyers"])
        overall = again.sum() / max(buyers.sum(), 1.0)
        codes, size = self.category_codes, len(self.category_names)
        category = (np.bincount(codes, again, size) + PRIOR_BUYERS * overall) / (
            np.bincount(codes, buyers, size) + PRIOR_BUYERS
        )
        return (again + PRIOR_BUYERS * category[codes]) / (buyers + PRIOR_BUYERS)

    @cached_property
    def cadence_days(self) -> Floats:
        """Usual days between repurchases: the item's, its category's median, all items'; NaN: unknown."""
        own = self.catalogue.statistics["cadence_days"]
        known = ~np.isnan(own)
        if not known.any():
            return own
        category = np.full(len(self.category_names), np.nanmedian(own))
        for code, name in enumerate(self.category_names):
            values = own[self.catalogue.rows_in_category[name]]
            if not np.isnan(values).all():
                category[code] = np.nanmedian(values)
        return np.where(known, own, category[self.category_codes])

    def rows_of(self, item_ids: Sequence[str]) -> Rows:
        """Return the row of each item, -1 for one the catalogue does not know."""
        index = self.catalogue.index
        return np.array([index.get(item, -1) for item in item_ids], dtype=np.int64)


def spread(rows: Rows, at: Rows, values: npt.NDArray[Any], otherwise: float) -> npt.NDArray[Any]:
    """Return the values that lie at rows `at`, for each of `rows` (which rise)."""
    out = np.full(len(rows), otherwise, dtype=values.dtype)
    if len(rows):
        place = np.minimum(np.searchsorted(rows, at), len(rows) - 1)
        there = rows[place] == at
        out[place[there]] = values[there]
    return out
