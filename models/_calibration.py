"""Turning a score into a probability: isotonic or Platt, as knots of a rising line, stored as JSON.

Isotonic: Zadrozny & Elkan (2002), by pooling adjacent violators; Platt (1999): a logistic curve, with his
smoothed targets. Either is learned on rows the score itself was not learned on.
"""

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit, logit

from models.base import Floats
from nextbest.errors import NotReady

Method = Literal["isotonic", "platt"]
METHODS: tuple[Method, ...] = ("platt", "isotonic")
FOLDS = 5
EDGE = 1e-6
"""Scores and probabilities are kept this far from 0 and 1."""


@dataclass(frozen=True)
class Calibration:
    """A rising curve through (scores, probabilities), straight between the knots and flat beyond them.

    A score is itself a number between 0 and 1, as a classifier gives it; the curve is drawn over its logit.
    """

    method: Method
    scores: Floats
    """Logits of the knots, rising."""
    probabilities: Floats

    @classmethod
    def learn(cls, scores: Floats, labels: Floats, seed: int, method: Method | None = None) -> Self:
        """Learn from scores and labels (0 or 1), by the method with the lower cross-validated log-loss.

        Raises NotReady where there is one label only.
        """
        if len(np.unique(labels)) < 2:
            raise NotReady(f"calibration needs both outcomes; all {len(labels)} rows have the same one")
        losses = [_loss(name, scores, labels, seed) for name in METHODS]
        chosen = method if method is not None else METHODS[int(np.argmin(losses))]
        return cls(chosen, *_FITS[chosen](_logits(scores), labels))

    def of(self, scores: Floats) -> Floats:
        """Return the probability of each score; NaN for NaN."""
        return np.interp(_logits(scores), self.scores, self.probabilities)

    def to_json(self) -> dict[str, Any]:
        """Return what from_json reads."""
        knots = {"scores": self.scores.tolist(), "probabilities": self.probabilities.tolist()}
        return {"method": self.method, **knots}

    @classmethod
    def from_json(cls, parts: dict[str, Any]) -> Self:
        """Read what to_json gave."""
        return cls(parts["method"], np.array(parts["scores"]), np.array(parts["probabilities"]))


def _logits(scores: npt.ArrayLike) -> Floats:
    return np.asarray(logit(np.clip(np.asarray(scores, dtype=np.float64), EDGE, 1 - EDGE)))


def _loss(method: Method, scores: Floats, labels: Floats, seed: int) -> float:
    """Return the log-loss on rows left out, over FOLDS folds."""
    fold = np.random.default_rng(seed).permutation(len(scores)) % FOLDS
    out = np.full(len(scores), np.nan)
    for left_out in range(FOLDS):
        rest, here = fold != left_out, fold == left_out
        if len(np.unique(labels[rest])) < 2:
            return np.inf
        knots = _FITS[method](_logits(scores[rest]), labels[rest])
        out[here] = np.interp(_logits(scores[here]), *knots)
    return float(-np.mean(np.where(labels > 0, np.log(out), np.log1p(-out))))


def _isotonic(logits: Floats, labels: Floats) -> tuple[Floats, Floats]:
    """Return a knot at the middle of each pooled block, which leans by one row towards the overall rate."""
    order = np.argsort(logits, kind="stable")
    level, first, sizes = np.unique(logits[order], return_index=True, return_counts=True)
    rates = np.add.reduceat(labels[order], first) / sizes
    found = isotonic_regression(rates, weights=sizes)
    weights = np.asarray(found.weights)
    middles = np.add.reduceat(level * sizes, found.blocks[:-1]) / weights
    pooled = np.add.reduceat(rates * sizes, found.blocks[:-1])
    leaning = (pooled + labels.mean()) / (weights + 1)
    return middles, np.clip(np.maximum.accumulate(leaning), EDGE, 1 - EDGE)


def _platt(logits: Floats, labels: Floats) -> tuple[Floats, Floats]:
    """Return the logistic curve at 101 knots, a little beyond the range of the scores."""
    positives, negatives = float(labels.sum()), float((1 - labels).sum())
    targets = np.where(labels > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(line: Floats) -> tuple[float, Floats]:
        z = line[0] * logits + line[1]
        wrong = expit(z) - targets
        slope = np.array([np.mean(wrong * logits), np.mean(wrong)])
        return float(np.mean(np.logaddexp(0, z) - targets * z)), slope

    slope, offset = minimize(
        loss, (1.0, 0.0), jac=True, method="L-BFGS-B", bounds=[(0, None), (None, None)]
    ).x
    knots = np.linspace(logits.min() - 1, logits.max() + 1, 101)
    return knots, np.clip(expit(slope * knots + offset), EDGE, 1 - EDGE)


_FITS = {"isotonic": _isotonic, "platt": _platt}
