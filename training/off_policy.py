"""What a policy over channels would have earned, from a log that another policy wrote.

Every choice was logged with its propensity, so a row counts w = π(chosen arm) / propensity times for the
policy π (Horvitz & Thompson 1952). `ips` averages w·reward, `snips` divides by the weights' sum instead of n,
and `doubly_robust` lets a reward model speak for all arms and the log for the model's errors. Each comes with
the influence of every row on it: intervals follow from its sums over contacts, those of a difference from the
difference of influences. Ask `Overlap` first whether the log can tell at all.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from nextbest.errors import BadInput
from training._off_policy_log import (
    Floats,
    Ints,
    Log,
    ThinOverlap,
    by_unit,
    checked_policy,
    importance,
    kish,
    one_hot,
)
from training._off_policy_overlap import MAX_UNSEEN, MIN_EFFECTIVE, Overlap

__all__ = [
    "MAX_UNSEEN",
    "MIN_EFFECTIVE",
    "Comparison",
    "Estimate",
    "Log",
    "Overlap",
    "ThinOverlap",
    "compare",
    "cross_fitted",
    "doubly_robust",
    "ips",
    "one_hot",
    "snips",
]

LEVEL = 0.9
Predict = Callable[[Ints], Floats]
"""Rows -> the predicted reward of every arm, (rows, arms)."""
Fit = Callable[[Ints], Predict]
"""Rows to learn from -> Predict."""


@dataclass(frozen=True)
class Estimate:
    """A policy's mean reward a row, with an interval."""

    value: float
    low: float
    high: float
    standard_error: float
    effective_sample_size: float
    """Kish's number of rows for the weights used."""
    level: float
    """Of the interval."""
    rows: int
    units: int
    """Contacts, or rows where they are not known."""
    clipped: float
    """Mean weight that clipping took away, else 0: with rewards in [0, 1] `ips` reads low by this at most."""


@dataclass(frozen=True)
class Comparison:
    """What policy a earns more than b a row, on the same log: what they share cancels out."""

    value: float
    low: float
    high: float
    standard_error: float
    level: float
    a: Estimate
    b: Estimate


def ips(log: Log, policy: npt.ArrayLike, *, level: float = LEVEL, clip: float | None = None) -> Estimate:
    """Return the mean of w·reward, unbiased where the policy's arms all have a propensity.

    Horvitz & Thompson 1952. `clip` bounds the weights: less variance, and a bias towards 0 (Ionides 2008;
    `Estimate.clipped` bounds it). Raises BadInput, and ThinOverlap where fewer than two contacts have weight.
    """
    return _estimate(log, _ips(log, _weights(log, policy, clip)), level)


def snips(log: Log, policy: npt.ArrayLike, *, level: float = LEVEL, clip: float | None = None) -> Estimate:
    """Return Σ w·reward / Σ w: never outside the rewards, unmoved by adding a constant to them.

    Swaminathan & Joachims 2015; variance by linearising the ratio (Owen, Monte Carlo theory, ch. 9). Its
    bias falls as 1/n; with `clip` one towards what the log's own policy earns stays. Raises as `ips`.
    """
    return _estimate(log, _snips(log, _weights(log, policy, clip)), level)


def doubly_robust(
    log: Log,
    policy: npt.ArrayLike,
    predictions: npt.ArrayLike,
    *,
    level: float = LEVEL,
    clip: float | None = None,
) -> Estimate:
    """Return the mean of Σₐ π(a)·prediction(a) + w·(reward - prediction of the logged arm).

    Dudík et al. 2014: unbiased where propensities or predictions are right, given that the predictions
    (n, arms) did not see the row they are for: see `cross_fitted`. With `clip` the model's errors are not
    wholly corrected. Raises as `ips`.
    """
    used = _weights(log, policy, clip)
    return _estimate(log, _doubly_robust(log, used, predictions), level)


def compare(
    log: Log,
    policy_a: npt.ArrayLike,
    policy_b: npt.ArrayLike,
    predictions: npt.ArrayLike | None = None,
    *,
    level: float = LEVEL,
    clip: float | None = None,
) -> Comparison:
    """Return what a earns more than b: doubly robust with predictions (n, arms), else self-normalised.

    The interval is paired, from the difference of the rows' influences. Raises as `ips`.
    """
    found = []
    for policy in (policy_a, policy_b):
        used = _weights(log, policy, clip)
        found.append(_snips(log, used) if predictions is None else _doubly_robust(log, used, predictions))
    a, b = found
    value = a.value - b.value
    fewest = min(a.used.effective_units, b.used.effective_units)
    error, half = _spread(log, a.influence - b.influence, fewest, level)
    return Comparison(
        value, value - half, value + half, error, level, _estimate(log, a, level), _estimate(log, b, level)
    )


def cross_fitted(log: Log, fit: Fit, folds: int = 5, seed: int = 0) -> Floats:
    """Return (n, arms): each row's predictions by a model that saw no row of its contact.

    `fit(rows)` learns from the given rows and returns `predict(rows) -> (rows, arms)`. Without this, a model
    that remembers the rewards would hide its errors from `doubly_robust` (Chernozhukov et al. 2018).
    """
    if not 2 <= folds <= log.units:
        raise BadInput(f"{folds} folds of {log.units} contacts; between 2 and one a contact are possible")
    fold = (np.random.default_rng(seed).permutation(log.units) % folds)[log.clusters]
    parts = []
    for number in range(folds):
        rows = np.flatnonzero(fold == number)
        parts.append((rows, np.asarray(fit(np.flatnonzero(fold != number))(rows), dtype=np.float64)))
    predictions = np.empty((len(log), *parts[0][1].shape[1:]))
    for rows, predicted in parts:
        if predicted.shape != (len(rows), *predictions.shape[1:]):
            raise BadInput(
                f"predictions of shape {predicted.shape} for {len(rows)} rows; (rows, arms) needed"
            )
        predictions[rows] = predicted
    return predictions


# --- a value, and each row's influence on it


@dataclass(frozen=True)
class _Used:
    """A policy as the log can use it."""

    policy: Floats
    weights: Floats
    effective_units: float
    clipped: float


@dataclass(frozen=True)
class _Found:
    """value - truth is about the mean of the rows' influences, whose sum is 0."""

    value: float
    influence: Floats
    used: _Used


def _weights(log: Log, policy: npt.ArrayLike, clip: float | None) -> _Used:
    target = checked_policy(log, policy)
    whole = importance(log, target)
    if clip is not None and not clip > 0:
        raise BadInput(f"weights cannot be clipped at {clip}; give a number above 0, or None")
    weights = whole if clip is None else np.minimum(whole, clip)
    of_unit = by_unit(log, weights)
    if (of_unit > 0).sum() < 2:
        raise ThinOverlap(
            f"of {len(log):,} logged rows the policy makes the choices for {(of_unit > 0).sum()} contacts; "
            "a spread needs two at least, and an interval worth having many more"
        )
    return _Used(target, weights, kish(of_unit), float((whole - weights).mean()))


def _ips(log: Log, used: _Used) -> _Found:
    terms = used.weights * log.rewards
    return _Found(float(terms.mean()), terms - terms.mean(), used)


def _snips(log: Log, used: _Used) -> _Found:
    value = float(used.weights @ log.rewards / used.weights.sum())
    return _Found(value, used.weights * (log.rewards - value) / used.weights.mean(), used)


def _doubly_robust(log: Log, used: _Used, predictions: npt.ArrayLike) -> _Found:
    predicted = np.asarray(predictions, dtype=np.float64)
    if predicted.shape != used.policy.shape:
        raise BadInput(f"predictions have the shape {predicted.shape}, the policy {used.policy.shape}")
    if not np.isfinite(predicted).all():
        raise BadInput("predictions are missing or infinite; the reward model must speak for every arm")
    logged = predicted[np.arange(len(log)), log.actions]
    terms = np.einsum("na,na->n", used.policy, predicted) + used.weights * (log.rewards - logged)
    return _Found(float(terms.mean()), terms - terms.mean(), used)


def _estimate(log: Log, found: _Found, level: float) -> Estimate:
    error, half = _spread(log, found.influence, found.used.effective_units, level)
    return Estimate(
        value=found.value,
        low=found.value - half,
        high=found.value + half,
        standard_error=error,
        effective_sample_size=kish(found.used.weights),
        level=level,
        rows=len(log),
        units=log.units,
        clipped=found.used.clipped,
    )


def _spread(log: Log, influence: Floats, effective: float, level: float) -> tuple[float, float]:
    """Return the standard error over contacts and half the interval's width.

    Contacts' sums of influences are independent, rows of a contact are not (Liang & Zeger 1986). Student's t
    has the effective number of contacts less one as degrees of freedom: what few tell of the error is unsure.
    """
    if not 0 < level < 1:
        raise BadInput(f"level is {level}; it must be between 0 and 1, as .9")
    sums = by_unit(log, influence)
    error = float(np.sqrt(log.units / (log.units - 1) * (sums @ sums))) / len(log)
    return error, error * float(student.ppf((1 + level) / 2, max(effective - 1, 1)))
