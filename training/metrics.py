"""Metrics, and bootstrap intervals over the units they are measured on.

Rankings are measured per query (a mean over queries is left to the caller, so that a bootstrap can resample
queries); probabilities over all rows at once. The undefined is NaN: an empty relevant list, one class only.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from nextbest.errors import BadInput

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Statistic = Callable[[Rows], float]
"""A metric on the units at the given positions (with repeats)."""

ROUNDS = 1000
LEVEL = 0.95


# --- rankings: one value a query


def hits(ranked: Sequence[Sequence[str]], relevant: Sequence[Collection[str]], k: int) -> Floats:
    """Return (queries, k): 1 where the item at that position is relevant. A repeated item counts once."""
    if len(ranked) != len(relevant):
        raise BadInput(f"{len(ranked)} rankings for {len(relevant)} relevant lists; one each is needed")
    found = np.zeros((len(ranked), k))
    for row, (items, wanted) in enumerate(zip(ranked, relevant, strict=True)):
        left = set(wanted)
        for position, item in enumerate(items[:k]):
            if item in left:
                left.discard(item)
                found[row, position] = 1.0
    return found


def _sizes(relevant: Sequence[Collection[str]]) -> Floats:
    return np.array([len(set(wanted)) for wanted in relevant], dtype=np.float64)


def ndcg_at_k(ranked: Sequence[Sequence[str]], relevant: Sequence[Collection[str]], k: int) -> Floats:
    """Return NDCG@k of each query, binary gains, discount 1 / log2(position + 1).

    The ideal list is every relevant item, cut to k: IDCG has min(|relevant|, k) terms, however few items were
    ranked (Järvelin & Kekäläinen 2002).
    """
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[np.nan], np.cumsum(discounts)])
    sizes = np.minimum(_sizes(relevant), k).astype(np.int64)
    return np.asarray((hits(ranked, relevant, k) @ discounts) / ideal[sizes], dtype=np.float64)


def recall_at_k(ranked: Sequence[Sequence[str]], relevant: Sequence[Collection[str]], k: int) -> Floats:
    """Return the share of all relevant items (not of min(|relevant|, k)) among the first k, per query."""
    sizes = _sizes(relevant)
    return hits(ranked, relevant, k).sum(axis=1) / np.where(sizes > 0, sizes, np.nan)


def hit_rate_at_k(ranked: Sequence[Sequence[str]], relevant: Sequence[Collection[str]], k: int) -> Floats:
    """Return 1 where any relevant item is among the first k, per query."""
    return np.where(_sizes(relevant) > 0, hits(ranked, relevant, k).max(axis=1, initial=0.0), np.nan)


# --- probabilities and scores


def roc_auc(labels: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Return P(score of a positive > score of a negative) + half of P(equal): Mann-Whitney's U, weighted."""
    y = np.asarray(labels, dtype=np.float64)
    w = np.ones_like(y) if weights is None else np.asarray(weights, dtype=np.float64)
    _, level = np.unique(np.asarray(scores, dtype=np.float64), return_inverse=True)
    positive = np.bincount(level, weights=w * y)
    negative = np.bincount(level, weights=w * (1 - y))
    pairs = positive.sum() * negative.sum()
    if pairs <= 0:
        return float("nan")
    below = np.cumsum(negative) - negative
    return float(positive @ (below + negative / 2) / pairs)


def log_loss(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Return the mean of -log p(label), probabilities kept 1e-15 away from 0 and 1."""
    y = np.asarray(labels, dtype=np.float64)
    p = np.clip(np.asarray(probabilities, dtype=np.float64), 1e-15, 1 - 1e-15)
    return _mean(-(y * np.log(p) + (1 - y) * np.log1p(-p)))


def brier(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Return the mean squared distance of probability and label (Brier 1950)."""
    return _mean((np.asarray(probabilities, dtype=np.float64) - np.asarray(labels, dtype=np.float64)) ** 2)


def mean_absolute_error(actual: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Return the mean absolute distance."""
    return _mean(np.abs(np.asarray(predicted, dtype=np.float64) - np.asarray(actual, dtype=np.float64)))


def root_mean_squared_error(actual: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Return the root of the mean squared distance."""
    return float(
        np.sqrt(_mean((np.asarray(predicted, dtype=np.float64) - np.asarray(actual, dtype=np.float64)) ** 2))
    )


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _mass_bins(probabilities: Floats, bins: int) -> Rows:
    """Return each row's bin of equal mass; equal probabilities share a bin, so row order is nothing."""
    _, level, counts = np.unique(probabilities, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2
    return np.minimum((middle / len(probabilities) * bins).astype(np.int64), bins - 1)[level]


def calibration_table(labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = 10) -> pd.DataFrame:
    """Return one row a bin of equal mass: count, predicted, observed, and its Wilson 95 % low and high.

    Bins that hold no row (many equal probabilities) are left out; no rows at all give an empty table.
    """
    y = np.asarray(labels, dtype=np.float64)
    p = np.asarray(probabilities, dtype=np.float64)
    place = _mass_bins(p, bins)
    count = np.bincount(place, minlength=bins).astype(np.float64)
    kept = count > 0
    predicted = np.bincount(place, weights=p, minlength=bins)[kept] / count[kept]
    observed = np.bincount(place, weights=y, minlength=bins)[kept] / count[kept]
    low, high = wilson(observed, count[kept])
    return pd.DataFrame(
        {"count": count[kept], "predicted": predicted, "observed": observed, "low": low, "high": high}
    )


def wilson(rate: Floats, count: Floats, z: float = 1.959964) -> tuple[Floats, Floats]:
    """Return Wilson's score interval of a rate seen in `count` trials (Wilson 1927)."""
    centre = (rate + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(rate * (1 - rate) / count + z**2 / (4 * count**2))
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def expected_calibration_error(labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = 10) -> float:
    """Return the rows' mean |observed - predicted| of their bin; equal-mass bins (Nixon et al. 2019)."""
    table = calibration_table(labels, probabilities, bins)
    if table.empty:
        return float("nan")
    gap = (table["observed"] - table["predicted"]).abs()
    return float((gap * table["count"]).sum() / table["count"].sum())


def gains_curve(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return (share of rows taken from the top, share of positives in them), a point a distinct score.

    Between points, inside a tie, it is a straight line: what a random order of the tie gives on average.
    """
    y = np.asarray(labels, dtype=np.float64)
    _, level = np.unique(-np.asarray(scores, dtype=np.float64), return_inverse=True)
    taken = np.concatenate([[0.0], np.cumsum(np.bincount(level))])
    caught = np.concatenate([[0.0], np.cumsum(np.bincount(level, weights=y))])
    if caught[-1] == 0:
        return taken / max(taken[-1], 1.0), np.full_like(caught, np.nan)
    return taken / taken[-1], caught / caught[-1]


def lift_at(labels: npt.ArrayLike, scores: npt.ArrayLike, share: float) -> float:
    """Return how many times the overall rate the positives' rate is among the top `share` of rows."""
    if not 0 < share <= 1:
        raise BadInput(f"share is {share}; it must be above 0 and at most 1")
    taken, caught = gains_curve(labels, scores)
    return float(np.interp(share, taken, caught) / share)


# --- bootstrap over units


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its percentile bootstrap interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """ours - theirs with its paired bootstrap interval, and both figures."""

    estimate: float
    low: float
    high: float
    ours: float
    theirs: float


def mean_of(values: npt.ArrayLike) -> Statistic:
    """Return the statistic that is the mean of per-unit values."""
    array = np.asarray(values, dtype=np.float64)
    return lambda rows: float(array[rows].mean())


def bootstrap(statistics: Sequence[Statistic], units: int, seed: int, rounds: int = ROUNDS) -> Floats:
    """Return (rounds, statistics): every statistic on the same resamples of the units (Efron 1979)."""
    if units < 1:
        raise BadInput("a bootstrap needs at least one unit")
    random = np.random.default_rng(seed)
    values = np.empty((rounds, len(statistics)))
    for row in range(rounds):
        chosen = random.integers(0, units, units)
        values[row] = [statistic(chosen) for statistic in statistics]
    return values


def percentile_interval(samples: Floats, level: float = LEVEL) -> tuple[float, float]:
    """Return the middle `level` of the samples; rounds where the statistic was undefined do not count."""
    defined = samples[~np.isnan(samples)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_interval(
    statistic: Statistic, units: int, seed: int, rounds: int = ROUNDS, level: float = LEVEL
) -> Interval:
    """Return the statistic on all units and its interval."""
    samples = bootstrap([statistic], units, seed, rounds)[:, 0]
    return Interval(statistic(np.arange(units)), *percentile_interval(samples, level))


def paired_bootstrap(
    ours: Statistic, theirs: Statistic, units: int, seed: int, rounds: int = ROUNDS, level: float = LEVEL
) -> Difference:
    """Return ours - theirs; both see the same resamples, so what they share cancels out."""
    samples = bootstrap([ours, theirs], units, seed, rounds)
    whole = np.arange(units)
    mine, other = ours(whole), theirs(whole)
    return Difference(mine - other, *percentile_interval(samples[:, 0] - samples[:, 1], level), mine, other)
