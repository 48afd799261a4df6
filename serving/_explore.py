"""New items in place of some picks: who may be drawn, and what was drawn with which propensity."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.base import Ranking
from models.catalogue import Catalogue
from models.exploration import explore, generator
from serving import _reasons
from serving._page import Given, Page, Pick

DAY = 86_400.0
POOL = 500
"""New items that may be drawn at most; which of them moves on from day to day."""


@dataclass(frozen=True)
class Explored:
    """The picks after chance had its say, the propensity of each, and what a replay needs to know."""

    picks: list[Pick]
    propensities: list[float]
    facts: dict[str, Any]


def new_items(catalogue: Catalogue, days: int) -> list[str]:
    """Return what was first sold within so many days or never, from another beginning every day."""
    first = catalogue.statistics["first_sold"]
    # a shelf valued at a moment holds nothing sold later; NaN: never sold
    rows = np.flatnonzero(np.isnan(first) | (first >= catalogue.now - days * DAY))
    if len(rows) > 1:
        rows = np.roll(rows, -(int(catalogue.now // DAY) * 7919) % len(rows))
    return [str(item) for item in catalogue.item_ids[rows[: 2 * POOL]]]


def pool_of(
    page: Page, picks: Sequence[Pick], item_ids: Sequence[str], category: Callable[[str], str]
) -> list[str]:
    """Return the items that any draw may show together with the picks without passing a category's share.

    Of a category only as many are in the pool as its share has room for beside the picks.
    """
    counts: dict[str, int] = {}
    for pick in picks:
        counts[category(pick.item_id)] = counts.get(category(pick.item_id), 0) + 1
    shown, pool = {pick.item_id for pick in picks}, list[str]()
    for item in item_ids:
        name = category(item)
        if item in shown or (name and counts.get(name, 0) >= page.most):
            continue
        counts[name] = counts.get(name, 0) + 1
        pool.append(item)
        if len(pool) == POOL:
            break
    return pool


def explored(
    picks: Sequence[Pick], pool: Sequence[str], epsilon: float, decision_id: str, catalogue: Catalogue
) -> Explored:
    """Give some places to items of the pool, by the policy of models.exploration seeded by the decision."""
    draw = explore(len(picks), len(pool), epsilon, generator(decision_id))
    chosen = [place for place in draw.chosen if place is not None]
    reasons = [_reasons.new(catalogue, catalogue.index[pool[place]]) for place in chosen]
    given = Given(Ranking([pool[place] for place in chosen], np.zeros(len(chosen)), reasons, "exploration"))
    out, drawn = list[Pick](), 0
    for pick, place in zip(picks, draw.chosen, strict=True):
        if place is None:
            out.append(pick)
        else:
            out.append(Pick(pool[place], pick.score, given, drawn))
            drawn += 1
    facts = {"epsilon": epsilon, "slots": draw.at_risk, "pool": len(pool)}
    return Explored(out, list(draw.propensities), facts)
