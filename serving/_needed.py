"""What a contact has grown into, put among the recommendations: a share of the page, after its first item."""

import logging
from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

from models.base import Ranking
from serving._page import Given, Pick
from serving._rungs import Ask
from serving.needs import OpenNeed
from serving.parts import Parts

log = logging.getLogger("nextbest.answers")

SOURCE = "needs"
PLACEMENTS = ("home", "email")
SHARE = 5
"""One place in so many is for needs; one at least."""


def with_needs(parts: Parts, ask: Ask) -> list[Pick]:
    """Return the page's picks with what is needed among them; what is there already stays where it is."""
    page = ask.page
    if parts.needs is None or ask.asked.placement not in PLACEMENTS:
        return page.picked
    try:
        needs = parts.needs.open(ask.person.view)
    except Exception:
        log.exception("what a contact has grown into cannot be told")
        return page.picked
    if not needs:
        return page.picked
    room = max(1, ask.asked.k // SHARE)
    shown = {pick.item_id for pick in page.picked}
    offers = [(item, need, place) for item, need, place in _in_turn(ask, needs) if item not in shown][:room]
    if not offers:
        return page.picked
    now = ask.person.view.now
    days = float(ask.asked.horizon_days or parts.settings.purchase_horizon_days)
    chances = np.array([need.chances(now, days)[place] for _, need, place in offers])
    ranking = Ranking(
        [item for item, _, _ in offers], np.zeros(len(offers)), [need.reason(now) for _, need, _ in offers],
        SOURCE, chances, {int(days): chances},
    )  # fmt: skip
    score = page.picked[0].score if page.picked else 0.0
    given = Given(ranking)
    picks = [Pick(item, score, given, place, bool(page.picked)) for place, (item, _, _) in enumerate(offers)]
    return [*page.picked[:1], *picks, *page.picked[1:]][: ask.asked.k]


def _in_turn(ask: Ask, needs: Sequence[OpenNeed]) -> list[tuple[str, OpenNeed, int]]:
    """Return what may be shown of each need's offers, the best of every need first; no item twice."""
    columns = []
    for need in needs:
        columns.append([(need.offers[place], need, place) for place in ask.gate.keep(need.offers)])
    found: dict[str, tuple[str, OpenNeed, int]] = {}
    for row in zip_longest(*columns):
        for offer in row:
            if offer is not None:
                found.setdefault(offer[0], offer)
    return list(found.values())
