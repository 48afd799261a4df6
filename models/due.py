"""What a shopper is about to buy again: time since the last purchase over the usual interval."""

from dataclasses import dataclass

import numpy as np

from models._shelf import shelf_of
from models.base import Floats, Ranking, Reason, Shopper
from models.catalogue import Catalogue
from models.eligibility import DEFAULTS, EligibilityConfig, usual_days
from models.frequency import DAY

MOST_OVERDUE = 2.0
"""Intervals passed beyond which an item is no more due than at these: it may have been given up."""


@dataclass(frozen=True, slots=True)
class Due:
    """One item bought before."""

    usual_days: float
    last_days_ago: float

    @property
    def overdue(self) -> float:
        """Time passed over the usual interval: 1 just due, 2 an interval late."""
        return self.last_days_ago / self.usual_days

    def reason(self) -> Reason:
        """Say it as data."""
        return Reason(
            "due",
            {
                "usual_days": round(self.usual_days, 1),
                "last_days_ago": round(self.last_days_ago, 1),
                "overdue": round(self.overdue, 2),
            },
        )


def due_items(shopper: Shopper, catalogue: Catalogue, config: EligibilityConfig = DEFAULTS) -> dict[str, Due]:
    """Return what is due (`ripe_from` of its interval has passed) by item_id; unknown intervals never are."""
    rows = shelf_of(catalogue).rows_of(shopper.repeat_items)
    found = {}
    for place in np.flatnonzero(rows >= 0).tolist():
        usual = usual_days(shopper, catalogue, int(rows[place]), place, config)
        ago = (shopper.now - float(shopper.repeat_last[place])) / DAY
        if usual > 0 and ago >= config.ripe_from * usual:  # false for NaN
            found[shopper.repeat_items[place]] = Due(usual, ago)
    return found


def by_dueness(ranking: Ranking, due: dict[str, Due], probabilities: Floats) -> Ranking:
    """Return what is due of a ranking, by intervals passed (two at most) x probability; ties as ranked."""
    places = [place for place, item in enumerate(ranking.item_ids) if item in due]
    held = ranking.take(places)
    overdue = np.array([min(due[item].overdue, MOST_OVERDUE) for item in held.item_ids])
    scores = overdue * probabilities[places]
    order = np.argsort(-scores, kind="stable")
    best = held.take(order.tolist())
    reasons = [due[item].reason() for item in best.item_ids]
    return Ranking(best.item_ids, scores[order], reasons, best.source, best.probabilities, best.by_horizon)
