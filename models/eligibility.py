"""What may be shown: a rule-based filter over any ranking, apart from the models so that it holds for all."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models._shelf import shelf_of
from models.base import Shopper
from models.catalogue import Catalogue
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
    own_purchases: int = 3
    """Purchases from which the contact's own gap counts, not the item's."""


DEFAULTS = EligibilityConfig()


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
    """Return the positions of item_ids that may be shown, in their order.

    Out are: items unknown, hidden or out of stock, excluded, in the cart or on the page, outside `category`
    (a path or the beginning of one), bought and not bought again by nature, bought and not yet due. With
    placement buy_again whatever was never bought is out too. `now` defaults to the shopper's.
    """
    if placement not in PLACEMENTS:
        raise BadInput(f"no placement {placement!r}; known: {', '.join(PLACEMENTS)}")
    out = {*exclude, *cart}
    rows = shelf_of(catalogue).rows_of(item_ids)
    moment = shopper.now if now is None else now
    bought = _last_bought(shopper)
    keep = []
    for position in np.flatnonzero((rows >= 0) & catalogue.in_stock[rows] & ~catalogue.hidden[rows]).tolist():
        item, row = item_ids[position], int(rows[position])
        if item in out or (category is not None and not _inside(str(catalogue.paths[row]), category)):
            continue
        if item not in bought:
            fits = placement != "buy_again"
        else:
            place, last = bought[item]
            fits = repeatable(catalogue, row, config) and _is_due(
                shopper, catalogue, row, place, moment - last, config
            )
        if fits:
            keep.append(position)
    return keep


def repeatable(catalogue: Catalogue, row: int, config: EligibilityConfig = DEFAULTS) -> bool:
    """Say whether the item is bought again by nature: its flag if it has one, else its buyers' habits."""
    flag = float(catalogue.repeatable[row])
    if not np.isnan(flag):
        return flag > 0
    return bool(shelf_of(catalogue).repurchase_rate[row] >= config.repeatable_from)


def _last_bought(shopper: Shopper) -> dict[str, tuple[int, float]]:
    """Map what was bought to (place in the repeat list or -1, when last): both lists are cut."""
    bought = {
        item: (-1, float(time))
        for item, time in zip(reversed(shopper.recent_items), reversed(shopper.recent_times), strict=True)
    }
    bought.update(
        (item, (place, float(shopper.repeat_last[place]))) for place, item in enumerate(shopper.repeat_items)
    )
    return bought


def _is_due(
    shopper: Shopper, catalogue: Catalogue, row: int, place: int, passed: float, config: EligibilityConfig
) -> bool:
    gap = float("nan")
    if place >= 0 and shopper.repeat_count[place] >= config.own_purchases:
        gap = own_gap_days(shopper, place)
    if np.isnan(gap):
        gap = float(shelf_of(catalogue).cadence_days[row])
    return bool(np.isnan(gap) or passed >= config.due_from * gap * DAY)


def _inside(path: str, category: str) -> bool:
    return path == category or path.startswith(category.rstrip("/") + "/")
