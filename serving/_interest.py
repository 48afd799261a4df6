"""What somebody is about to do now, by what they looked at and put into the cart.

A ranker that never saw views in what it learned from does not react to them. What was seen lately then
speaks for itself: what goes with it, and its likes, fused by rank with the ranking where there is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from features.state import ContactView
from models.alternatives import leaves
from models.base import Ranking
from models.catalogue import Catalogue
from models.fusion import fused
from nextbest.columns import LOOKS
from serving import _reasons

DAY = 86_400.0
FRESH_DAYS = 7.0
"""Days in which a view speaks for somebody who has bought before; an order ends it."""
MOST = 12
"""Items seen last that are looked at."""
RANKED_TO_MOMENT = RULES_TO_LIKES = 1.5, 1.0
"""Weights of the fusions, as measured (benchmarks/visitors.py, docs/decisions.md)."""


@dataclass(frozen=True)
class Interest:
    """Items of the cart, in order, and items seen and not bought since, the latest first."""

    cart: Sequence[str]
    seen: Sequence[str]

    def __bool__(self) -> bool:
        """Tell whether there is anything to go by."""
        return bool(self.cart or self.seen)

    @property
    def items(self) -> list[str]:
        """All of them, the latest last."""
        return list(dict.fromkeys([*reversed(self.seen), *self.cart]))


def interest(view: ContactView) -> Interest:
    """Return what the view shows of the moment; views of long ago only of someone who never bought."""
    since = view.times["last_order"]
    if bought_before(view):
        since = np.fmax(since, view.now - FRESH_DAYS * DAY)
    fresh = [
        item
        for item, seconds in zip(view.viewed_items, view.viewed_times, strict=True)
        if not seconds <= since
    ]
    return Interest(view.cart, fresh[:MOST])


def bought_before(view: ContactView) -> bool:
    """Whether a model of purchases has anything to go by."""
    return bool(view.repeat_items or view.recent_items)


def without_looks(view: ContactView) -> ContactView:
    """Return the view as if nothing had been looked at, for a ranker that does not go by it."""
    steps = [place for place, name in enumerate(view.step_names) if name not in LOOKS]
    return replace(
        view,
        viewed_items=[],
        viewed_times=np.empty(0),
        step_names=[view.step_names[place] for place in steps],
        step_categories=[view.step_categories[place] for place in steps],
        step_times=view.step_times[steps],
    )


def worth_liking(now: Interest, view: ContactView, catalogue: Catalogue) -> ContactView:
    """Return the view with the items seen that are in no category the cart has something of already."""
    settled = leaves(catalogue, now.cart)
    rows = [(item, catalogue.index.get(item)) for item in now.seen]
    seen = [item for item, row in rows if row is None or str(catalogue.paths[row]) not in settled]
    return replace(view, viewed_items=seen, viewed_times=np.full(len(seen), view.now))


def of_the_moment(
    rules: Ranking | None, likes: Ranking, view: ContactView, k: int
) -> tuple[Ranking, list[str]]:
    """Fuse what goes with what was seen, and its likes; return it and the source of each item."""
    if rules is None or not len(rules):
        return likes, [likes.source] * len(likes)
    reasons = [_reasons.from_views(reason, view) for reason in rules.reasons]
    told = replace(rules, reasons=reasons)
    ranking, origin = fused([told, likes], RULES_TO_LIKES, k)
    sources = [(rules.source, likes.source)[number] for number in origin]
    return ranking, sources


def together(ranked: Ranking, moment: Ranking, sources: Sequence[str], k: int) -> tuple[Ranking, list[str]]:
    """Fuse a ranking by habit with what speaks of the moment; return it and the source of each item."""
    ranking, origin = fused([ranked, moment], RANKED_TO_MOMENT, k)
    source_of = dict(zip(moment.item_ids, sources, strict=True))
    named = zip(ranking.item_ids, origin, strict=True)
    return ranking, [source_of[item] if number else ranked.source for item, number in named]
