"""How sure a calibrated probability is: the rate among contacts scored alike, with its interval.

Contacts of the calibration window are put into groups of equal size by their probability. Each group's
observed rate has a Jeffreys interval (Brown, Cai & DasGupta 2001), whose ends are kept as distances from the
group's mean probability, in log-odds, and interpolated between groups.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import expit, logit
from scipy.stats import beta

from models.base import Floats

LEVEL = 0.9
GROUPS, LEAST = 20, 50
"""Groups at most, and rows of one at least."""
EDGE = 1e-6


@dataclass(frozen=True)
class Certainty:
    """Distances of the interval's ends from a probability; arrays of one length, logits rising."""

    logits: Floats
    low: Floats
    high: Floats

    @classmethod
    def learn(cls, probabilities: Floats, labels: Floats) -> Self:
        """Learn from calibrated probabilities and what happened (0 or 1); any number of rows from 1."""
        order = np.argsort(probabilities, kind="stable")
        groups = np.array_split(order, max(1, min(GROUPS, len(order) // LEAST)))
        sizes = np.array([len(group) for group in groups], dtype=np.float64)
        found = np.array([labels[group].sum() for group in groups])
        middle = _logit(np.array([probabilities[group].mean() for group in groups]))
        ends = [beta.ppf(q, found + 0.5, sizes - found + 0.5) for q in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)]
        low, high = (_logit(end) - middle for end in ends)
        return cls(middle, np.minimum(low, 0.0), np.maximum(high, 0.0))

    def interval(self, probabilities: Floats) -> tuple[Floats, Floats]:
        """Return the two ends, which hold the probability between them; NaN for NaN."""
        at = _logit(probabilities)
        low, high = (np.interp(at, self.logits, ends) for ends in (self.low, self.high))
        return np.minimum(expit(at + low), probabilities), np.maximum(expit(at + high), probabilities)

    def to_json(self) -> dict[str, Any]:
        """Return what from_json reads."""
        return {"logits": self.logits.tolist(), "low": self.low.tolist(), "high": self.high.tolist()}

    @classmethod
    def from_json(cls, parts: dict[str, Any]) -> Self:
        """Read what to_json gave."""
        return cls(np.array(parts["logits"]), np.array(parts["low"]), np.array(parts["high"]))


def _logit(probabilities: Floats) -> Floats:
    return np.asarray(logit(np.clip(probabilities, EDGE, 1 - EDGE)), dtype=np.float64)
