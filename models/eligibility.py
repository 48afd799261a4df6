"""What may be shown: a rule-based filter over any ranking, apart from the models so that it holds for all."""

import math
from collections.abc import Collection, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from models._shelf import shelf_of
from models.base import Shopper
from models.catalogue import Catalogue, inside
from models.frequency import DAY, own_gap_days
from nextbest.errors import BadInput

PLACEMENTS = ("home", "product", "cart", "email", "buy_again", "trending")


@dataclass(frozen=True)
class EligibilityConfig:
    """Where the lines are drawn."""

    repeatable_from: float = 0.1
    """Share of buyers who buy again, from which an item is bought again by nature (where no flag says so)."""
    due_from: float = 0.5
    """Share of the usual gap that must have passed before an item is offered again."""
    ripe_from: float = 0.8
    """Share of the usual gap from which an item is due: for buy_again, and while `resting_days` last."""
    own_purchases: int = 3
    """Purchases from which the contact's own gap counts, not the item's."""


DEFAULTS = EligibilityConfig()


@dataclass(frozen=True)
class Terms:
    """What one request rules out, beside what nobody may be shown."""

    exclude: Collection[str] = ()
    cart: Sequence[str] = ()
    """What is in the cart or on the page."""
    placement: str = "home"
    category: str | None = None
    """A path or the beginning of one; only what lies inside is shown."""
    not_of: Collection[str] = field(default=())
    """Whole category paths of which nothing is shown."""
    resting_days: float = 0.0
    """What was bought within so many days is shown only if it is due (`ripe_from`)."""
    now: float | None = None
    """Epoch seconds; None: the shopper's."""

    def __post_init__(self) -> None:
        if self.placement not in PLACEMENTS:
            raise BadInput(f"no placement {self.placement!r}; known: {', '.join(PLACEMENTS)}")


Habit = tuple[float, float] | None
"""When a shopper bought an item last, and the days after which it is bought again; None: never bought.

Infinite days: not bought again by nature; NaN: nobody's purchases tell.
"""
_UNKNOWN: Habit = (math.nan, math.nan)
"""In the place of a habit that was not asked for yet."""


class Gate:
    """The terms of one request for one shopper, ready to filter many lists.

    Kept out are: items unknown, hidden or out of stock, excluded, in the cart or on the page, outside the
    category, of a category ruled out, bought and not bought again by nature, bought and not yet due. With
    placement buy_again whatever was never bought is kept out too. `habits` is filled as items are asked for,
    and may be handed to another gate for the same purchases, catalogue and config.
    """

    def __init__(
        self,
        shopper: Shopper,
        catalogue: Catalogue,
        terms: Terms,
        config: EligibilityConfig = DEFAULTS,
        habits: MutableMapping[str, Habit] | None = None,
    ) -> None:
        self._shopper, self._catalogue, self._terms, self._config = shopper, catalogue, terms, config
        self._shelf = shelf_of(catalogue)
        self._out = {*terms.exclude, *terms.cart}
        self._now = shopper.now if terms.now is None else terms.now
        self._habits: MutableMapping[str, Habit] = {} if habits is None else habits

    def keep(self, item_ids: Sequence[str]) -> list[int]:
        """Return the positions of item_ids that may be shown, in their order."""
        rows, catalogue = self._shelf.rows_of(item_ids), self._catalogue
        sold = (rows >= 0) & catalogue.in_stock[rows] & ~catalogue.hidden[rows]
        out, habits, keep = self._out, self._habits, []
        anywhere = self._terms.category is None and not self._terms.not_of
        strange = anywhere and self._terms.placement != "buy_again"  # never bought is all there is to ask
        for position in np.flatnonzero(sold).tolist():
            item = item_ids[position]
            if item in out:
                continue
            if strange and habits.get(item, _UNKNOWN) is None:
                keep.append(position)
                continue
            row = int(rows[position])
            if (anywhere or self._inside(row)) and self._wanted(item, row):
                keep.append(position)
        return keep

    def _inside(self, row: int) -> bool:
        category, not_of = self._terms.category, self._terms.not_of
        if category is None and not not_of:
            return True
        path = str(self._catalogue.paths[row])
        if path in not_of:
            return False
        return category is None or inside(path, category)

    def _wanted(self, item: str, row: int) -> bool:
        if item not in self._habits:
            self._habits[item] = self._habit(item, row)
        habit = self._habits[item]
        if habit is None:
            return self._terms.placement != "buy_again"
        last, gap = habit
        if gap == math.inf:
            return False
        passed = (self._now - last) / DAY
        resting = passed < self._terms.resting_days
        share = self._config.ripe_from if resting else self._config.due_from
        return passed >= share * gap if not math.isnan(gap) else not resting

    def _habit(self, item: str, row: int) -> Habit:
        place = self._places.get(item, -1)
        if place < 0 and item not in self._recent:
            return None
        last = float(self._shopper.repeat_last[place] if place >= 0 else self._recent[item])
        if not repeatable(self._catalogue, row, self._config):
            return last, math.inf
        return last, usual_days(self._shopper, self._catalogue, row, place, self._config)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {item: place for place, item in enumerate(self._shopper.repeat_items)}

    @cached_property
    def _recent(self) -> dict[str, float]:
        return dict(zip(self._shopper.recent_items, self._shopper.recent_times, strict=True))


def eligible(
    item_ids: Sequence[str],
    shopper: Shopper,
    catalogue: Catalogue,
    *,
    exclude: Sequence[str] = (),
    cart: Sequence[str] = (),
    placement: str = "home",
    category: str | None = None,
    now: float | None = None,
    config: EligibilityConfig = DEFAULTS,
) -> list[int]:
    """Return the positions of item_ids that may be shown, in their order: a Gate used once."""
    terms = Terms(exclude=exclude, cart=cart, placement=placement, category=category, now=now)
    return Gate(shopper, catalogue, terms, config).keep(item_ids)


def repeatable(catalogue: Catalogue, row: int, config: EligibilityConfig = DEFAULTS) -> bool:
    """Say whether the item is bought again by nature: its flag if it has one, else its buyers' habits."""
    flag = float(catalogue.repeatable[row])
    if not np.isnan(flag):
        return flag > 0
    return bool(shelf_of(catalogue).repurchase_rate[row] >= config.repeatable_from)


def usual_days(
    shopper: Shopper, catalogue: Catalogue, row: int, place: int, config: EligibilityConfig = DEFAULTS
) -> float:
    """Return the days after which the shopper buys an item again: by own habit, else by the item's.

    `place` is the item's in the repeat list, -1: not there. NaN where nobody buys anything again.
    """
    if place >= 0 and shopper.repeat_count[place] >= config.own_purchases:
        own = own_gap_days(shopper, place)
        if not np.isnan(own):
            return own
    return float(shelf_of(catalogue).cadence_days[row])
