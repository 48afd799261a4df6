"""The items in memory: loaded from the feature tables, followed as they change, cut by category."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.state import ContactView
from models.catalogue import Catalogue, inside

log = logging.getLogger("nextbest.shelf")

REVALUE_SECONDS = 3600.0
"""Moments the clock may move on before decayed statistics are valued anew: an hour changes none by 0.5 %."""
CATEGORIES_KEPT = 32


@dataclass(frozen=True)
class _Shelved:
    """One catalogue with all that is derived from it; replaced as a whole."""

    catalogue: Catalogue
    population: int
    """Contacts the statistics are of."""
    rates: npt.NDArray[np.float64]
    """Purchases of each item by one contact on one day."""
    rows_by_path: Mapping[str, npt.NDArray[np.int64]]
    cuts: dict[str | None, Catalogue] = field(default_factory=dict)


class Shelf:
    """Holds the catalogue; `refresh` is called by a background thread, everything else by requests.

    `load(now)` returns the items' frame and how many contacts there are, or None where nothing is built yet;
    `stamp()` returns what changes when it would return something else. `warm` runs on a new catalogue, and
    on its sellable part, before it is shown, so that no request pays for what is computed once.
    """

    def __init__(
        self,
        load: Callable[[datetime], tuple[pd.DataFrame, int] | None],
        stamp: Callable[[], object] = lambda: None,
        warm: Callable[[Catalogue, Catalogue], None] = lambda *_: None,
    ) -> None:
        self._load, self._stamp, self._warm = load, stamp, warm
        self._held: _Shelved | None = None
        self._seen: object = None
        self.error: str | None = None

    def refresh(self, now: datetime) -> None:
        """Load what has changed, or value it anew; keeps what it has if that fails."""
        try:
            stamp = self._stamp()
            held = self._held
            stale = held is None or abs(now.timestamp() - held.catalogue.now) >= REVALUE_SECONDS
            if not stale and stamp == self._seen:
                return
            loaded = self._load(now)
            if loaded is None:
                self.error = "no feature tables; run: nextbest features build"
                return
            shelved = _shelve(Catalogue.from_frame(loaded[0], now.timestamp()), loaded[1])
            self._warm(shelved.catalogue, _cut(shelved, None))
            self._held, self._seen, self.error = shelved, stamp, None
        except Exception as error:
            if str(error) != self.error:
                log.exception("the catalogue could not be loaded; the one before stays")
            self.error = str(error) or type(error).__name__

    def catalogue(self) -> Catalogue | None:
        """Return all items; None while there are none."""
        return self._held.catalogue if self._held is not None and len(self._held.catalogue) else None

    def may_show(self, item_id: str) -> bool:
        """Tell whether an item may be shown; one the catalogue does not know may."""
        held = self._held
        row = held.catalogue.index.get(item_id) if held is not None else None
        if held is None or row is None:
            return True
        return bool(held.catalogue.in_stock[row] and not held.catalogue.hidden[row])

    def title(self, item_id: str) -> str | None:
        """Return what the catalogue calls an item; None for one it does not know."""
        held = self._held
        row = held.catalogue.index.get(item_id) if held is not None else None
        return None if held is None or row is None else held.catalogue.titles[row]

    def sellable(self, category: str | None = None) -> Catalogue:
        """Return the items in stock and not hidden, at or below a category path. Needs a catalogue."""
        held = self._held
        assert held is not None, "asked before catalogue() gave one"  # noqa: S101
        return _cut(held, category)

    def estimates(
        self, items: Sequence[str], view: ContactView, days: float, sure: Sequence[float] | None = None
    ) -> list[float]:
        """Return P(buys the item within so many days) from rates alone, for where no model says.

        1 - (1 - c) exp(-rate * days), the rate being the greater of the contact's own (repeat_90d * ln 2
        / 90) and the shop's (sold_90d * ln 2 / 90 / contacts); c, from `sure`, the confidence of the rule
        that goes from this basket to the item, 0 where there is none.
        """
        held = self._held
        assert held is not None, "asked before catalogue() gave one"  # noqa: S101
        rates = (float(weight) * math.log(2) / 90 for weight in view.repeat_90d)
        own = dict(zip(view.repeat_items, rates, strict=True))
        found = []
        for place, item in enumerate(items):
            row = held.catalogue.index.get(item)
            shop = 0.0 if row is None else float(held.rates[row])
            missed = math.exp(-max(own.get(item, 0.0), shop) * days)
            found.append(1.0 - (1.0 - (0.0 if sure is None else sure[place])) * missed)
        return found


def _shelve(catalogue: Catalogue, population: int) -> _Shelved:
    sold = np.nan_to_num(catalogue.statistics["sold_90d"], nan=0.0)
    buyers = np.nan_to_num(catalogue.statistics["buyers"], nan=0.0)
    people = max(population, int(buyers.max(initial=0.0)), 1)
    paths, codes = np.unique(catalogue.paths.astype(str), return_inverse=True)
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(paths) + 1))
    rows = {str(path): order[bounds[i] : bounds[i + 1]] for i, path in enumerate(paths)}
    return _Shelved(catalogue, people, np.maximum(sold, 0.0) * math.log(2) / 90 / people, rows)


def _cut(held: _Shelved, category: str | None) -> Catalogue:
    """Return the sellable part at or below a category; computed once, the last few are kept."""
    if category in held.cuts:
        return held.cuts[category]
    whole = held.catalogue
    keep = whole.in_stock & ~whole.hidden
    if category is not None:
        found = [rows for path, rows in held.rows_by_path.items() if inside(path, category)]
        mask = np.zeros(len(whole), dtype=np.bool_)
        mask[np.concatenate([np.empty(0, dtype=np.int64), *found])] = True
        keep = keep & mask
    cut = whole if keep.all() else _part(whole, np.flatnonzero(keep))
    while len(held.cuts) >= CATEGORIES_KEPT:
        held.cuts.pop(next((name for name in held.cuts if name is not None), None), None)
    held.cuts[category] = cut
    return cut


def _part(whole: Catalogue, rows: npt.NDArray[np.int64]) -> Catalogue:
    return replace(
        whole,
        item_ids=whole.item_ids[rows],
        titles=whole.titles[rows],
        categories=whole.categories[rows],
        paths=whole.paths[rows],
        brands=whole.brands[rows],
        prices=whole.prices[rows],
        in_stock=whole.in_stock[rows],
        hidden=whole.hidden[rows],
        repeatable=whole.repeatable[rows],
        statistics={name: values[rows] for name, values in whole.statistics.items()},
    )
