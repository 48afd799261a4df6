"""What goes with a page or a whole cart: rules from every item of it, weighed together."""

from collections.abc import Collection, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from models.base import Ranking, Reason
from models.basket import Neighbours
from models.catalogue import Catalogue

STRONG_LIFT = 5.0
"""Lift from which an item of the same category goes with another and does not merely stand for it."""
ITEMS = 40
"""Items of a cart, the latest, that are counted one by one."""


@runtime_checkable
class Gathers(Protocol):
    """What models.basket.Basket does for this."""

    kind: str
    item_ids: npt.NDArray[np.object_]

    def gather(self, item_ids: Sequence[str], k: int) -> Neighbours:
        """Return what the given items speak for together."""

    def reason(self, rule: int) -> Reason:
        """Say what a rule rests on."""


def complements(
    basket: Gathers,
    catalogue: Catalogue,
    context: Sequence[str],
    k: int,
    alike: Collection[str] = (),
    strong: float = STRONG_LIFT,
) -> Ranking:
    """Return at most k items that go with the context; what goes with several items of it comes first.

    Within those that go with several, and with one, by the sum of the rules' scores. `alike` are category
    paths whose items stand for an item of the context: they need a rule with a lift of `strong`.
    """
    found = basket.gather(context, 3 * k)
    items = [str(item) for item in basket.item_ids[found.numbers]]
    several = _speakers(basket, context, found, 3 * k) > 1
    scores = np.where(several, found.scores + found.scores.max(initial=0.0), found.scores)
    keep: list[int] = []
    reasons: list[Reason] = []
    for place in np.argsort(-scores, kind="stable").tolist():
        row, reason = catalogue.index.get(items[place]), basket.reason(int(found.rules[place]))
        if row is not None and _goes_with(reason, str(catalogue.paths[row]), alike, strong):
            keep.append(place)
            reasons.append(reason)
        if len(keep) == k:
            break
    return Ranking([items[place] for place in keep], scores[keep], reasons, basket.kind)


def _speakers(basket: Gathers, context: Sequence[str], found: Neighbours, most: int) -> npt.NDArray[np.int64]:
    """Return how many items of the context speak for each of the found ones."""
    given = list(dict.fromkeys(context))[-ITEMS:]
    if len(given) < 2 or not len(found.numbers):
        return np.ones(len(found.numbers), dtype=np.int64)
    each: list[Any] = [basket.gather([item], 4 * most).numbers for item in given]
    numbers, counts = np.unique(np.concatenate(each), return_counts=True)
    if not len(numbers):
        return np.ones(len(found.numbers), dtype=np.int64)
    place = np.minimum(np.searchsorted(numbers, found.numbers), len(numbers) - 1)
    return np.where(numbers[place] == found.numbers, counts[place], 1)


def _goes_with(reason: Reason, path: str, alike: Collection[str], strong: float) -> bool:
    lift = float(reason.because.get("lift", 0.0))
    return lift > 1.0 and (path not in alike or lift >= strong)
