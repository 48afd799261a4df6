"""Gamma-Gamma: what an order of a contact is worth, from the mean of the orders seen.

Fader & Hardie (2013), "The Gamma-Gamma model of monetary value". Orders of a contact are Gamma(p, ν), and
ν ~ Gamma(q, v) over contacts. q is sought above 1, where the population's mean exists.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import digamma, gammaln

from models._optimum import optimum
from models.base import Floats

STARTS = ((0.0, 0.0, 0.0), (2.0, 1.0, 1.0), (-1.0, 2.0, 2.0))
"""Logarithms of (p, q - 1, v) to start from; v in units of the mean order."""


@dataclass(frozen=True)
class GammaGamma:
    """The three parameters; `v` in money."""

    p: float
    q: float
    v: float

    @classmethod
    def fit(cls, x: Floats, mean: Floats) -> Self:
        """Maximise the likelihood of contacts with x ≥ 1 orders of a positive mean; raises NotReady."""
        unit = float(np.average(mean, weights=x))

        def loss(logs: Floats) -> tuple[float, Floats]:
            p, rest, v = np.exp(logs)
            slope = _slope(p, 1 + rest, v, x, mean / unit) * np.array([p, rest, v])
            return -float(np.mean(_log_likelihood(p, 1 + rest, v, x, mean / unit))), -slope

        p, rest, v = np.exp(optimum(loss, STARTS, "Gamma-Gamma", len(x)))
        return cls(float(p), float(1 + rest), float(v * unit))

    def log_likelihood(self, x: Floats, mean: Floats) -> float:
        """Return the log-likelihood of contacts, as a sum."""
        return float(_log_likelihood(self.p, self.q, self.v, x, mean).sum())

    def expected_value(self, x: Floats, mean: Floats) -> Floats:
        """Return the expected worth of an order: the contact's mean drawn towards the population's."""
        seen = np.where((x > 0) & np.isfinite(mean), x, 0.0)
        return self.p * (self.v + seen * np.nan_to_num(mean)) / (self.p * seen + self.q - 1)


def _log_likelihood(p: float, q: float, v: float, x: Floats, mean: Floats) -> Floats:
    px = p * x
    return (
        gammaln(px + q)
        - gammaln(px)
        - gammaln(q)
        + q * np.log(v)
        + (px - 1) * np.log(mean)
        + px * np.log(x)
        - (px + q) * np.log(v + x * mean)
    )


def _slope(p: float, q: float, v: float, x: Floats, mean: Floats) -> Floats:
    """Return the gradient of the mean log-likelihood by p, q and v."""
    px, whole = p * x, v + x * mean
    by_p = x * (digamma(px + q) - digamma(px) + np.log(x * mean) - np.log(whole))
    by_q = digamma(px + q) - digamma(q) + np.log(v) - np.log(whole)
    by_v = q / v - (px + q) / whole
    return np.array([by_p.mean(), by_q.mean(), by_v.mean()])
