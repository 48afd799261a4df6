"""The probability of each item: the model's for the horizon asked, or an estimate from rates."""

from collections.abc import Sequence

import numpy as np

from features.state import ContactView
from models.base import Floats, Ranking, Reason
from serving import _reasons
from serving._page import Pick
from serving.parts import Parts
from serving.refused import Refused


class Chances:
    """P(bought within the horizon) of picks and of rankings."""

    def __init__(self, parts: Parts) -> None:
        self._shelf, self._usual = parts.shelf, parts.settings.purchase_horizon_days

    def of(self, picks: Sequence[Pick], view: ContactView, horizon_days: int | None) -> list[float]:
        """Return one probability a pick. Raises Refused(400) where its model does not know the horizon."""
        days = horizon_days or self._usual
        known = {id(pick.given): self._known(pick.given.ranking, days) for pick in picks}
        found = [
            np.nan if (given := known[id(pick.given)]) is None else float(given[pick.place]) for pick in picks
        ]
        return self._filled(
            found, [pick.item_id for pick in picks], [pick.reason for pick in picks], view, days
        )

    def of_ranking(self, ranking: Ranking, view: ContactView) -> Floats:
        """Return one probability an item of a ranking, for the usual horizon."""
        given = self._known(ranking, self._usual)
        found = [np.nan] * len(ranking) if given is None else [float(value) for value in given]
        return np.array(self._filled(found, ranking.item_ids, ranking.reasons, view, self._usual))

    def _known(self, ranking: Ranking, days: int) -> Floats | None:
        if ranking.probabilities is None and not ranking.by_horizon:
            return None
        horizons = ranking.by_horizon or {}
        if days in horizons:
            return horizons[days]
        if days == self._usual:
            return ranking.probabilities
        known = ", ".join(str(day) for day in sorted({self._usual, *horizons}))
        raise Refused(
            400,
            "unknown_horizon",
            f"'horizon_days': {ranking.source} knows no {days} days; it knows: {known}",
        )

    def _filled(
        self, found: list[float], items: Sequence[str], reasons: Sequence[Reason], view: ContactView,
        days: float,
    ) -> list[float]:  # fmt: skip
        """Return the probabilities with estimates where there is none."""
        gaps = [place for place, value in enumerate(found) if value != value]
        if gaps:
            sure = _reasons.confidences([reasons[place] for place in gaps])
            estimates = self._shelf.estimates([items[place] for place in gaps], view, days, sure)
            for place, estimate in zip(gaps, estimates, strict=True):
                found[place] = estimate
        return [min(max(value, 0.0), 1.0) for value in found]
