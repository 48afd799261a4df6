"""Several rankings made into one by the ranks alone: their scores need not be comparable."""

from collections.abc import Mapping, Sequence

import numpy as np

from models.base import Floats, Ranking

FLAT = 10.0
"""Added to every rank: the greater, the less the first places count for more than the next."""


def fused(rankings: Sequence[Ranking], weights: Sequence[float], k: int) -> tuple[Ranking, list[int]]:
    """Return the k items with the highest sums of weight / (FLAT + rank), and the ranking each is from.

    Reciprocal rank fusion (Cormack, Clarke and Buettcher 2009). An item that several rankings hold is of the
    one that speaks most for it, with its reason; its probability is the first there is, NaN where none is.
    The source is the first ranking's.
    """
    voices = dict[str, list[tuple[float, int]]]()
    for number, (ranking, weight) in enumerate(zip(rankings, weights, strict=True)):
        for place, item in enumerate(ranking.item_ids):
            voices.setdefault(item, []).append((weight / (FLAT + place), number))
    sums = {item: sum(voice for voice, _ in heard) for item, heard in voices.items()}
    items = sorted(sums, key=lambda item: -sums[item])[:k]
    origin = [max(voices[item], key=lambda voice: voice[0])[1] for item in items]
    places = [{item: place for place, item in enumerate(ranking.item_ids)} for ranking in rankings]
    horizons = {days for ranking in rankings for days in ranking.by_horizon or {}}
    known = any(ranking.probabilities is not None for ranking in rankings)
    return Ranking(
        items,
        np.array([sums[item] for item in items]),
        [rankings[n].reasons[places[n][item]] for item, n in zip(items, origin, strict=True)],
        rankings[0].source,
        _first(items, places, [ranking.probabilities for ranking in rankings]) if known else None,
        {
            days: _first(items, places, [(ranking.by_horizon or {}).get(days) for ranking in rankings])
            for days in sorted(horizons)
        },
    ), origin


def _first(
    items: Sequence[str], places: Sequence[Mapping[str, int]], columns: Sequence[Floats | None]
) -> Floats:
    """Return each item's value of the first column that has one; NaN where none has."""
    values = np.full(len(items), np.nan)
    for place, column in zip(places, columns, strict=True):
        if column is not None:
            own = np.array([column[place[item]] if item in place else np.nan for item in items])
            values = np.where(np.isnan(values), own, values)
    return values
