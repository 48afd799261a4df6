"""Gamma-Gamma: what an order of a contact is worth, from the mean of the orders seen.

Fader & Hardie (2013), "The Gamma-Gamma model of monetary value". Orders of a contact are Gamma(p, ν), and
ν ~ Gamma(q, v) over contacts. q is sought above 1, where the population's mean exists.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import betaln, digamma

from models._optimum import optimum
from models.base import Floats

STARTS = ((0.0, 0.0, 0.0), (2.0, 1.0, 0.0), (-1.0, 2.0, 0.0), (6.0, 6.0, 0.0))
"""Logarithms of (p, q - 1, the population's mean order) to start from; the last in units of the mean order.

The mean in the place of v: where orders differ little, p and v are large and follow each other closely."""


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
            p, rest, everyone = np.exp(logs)
            v = everyone * rest / p
            by_p, by_q, by_v = _slope(p, 1 + rest, v, x, mean / unit) * np.array([p, rest, v])
            value = float(np.mean(_log_likelihood(p, 1 + rest, v, x, mean / unit)))
            return -value, -np.array([by_p - by_v, by_q + by_v, by_v])

        p, rest, everyone = np.exp(optimum(loss, STARTS, "Gamma-Gamma", len(x)))
        v = everyone * rest / p
        return cls(float(p), float(1 + rest), float(v * unit))

    def log_likelihood(self, x: Floats, mean: Floats) -> float:
        """Return the log-likelihood of contacts, as a sum."""
        return float(_log_likelihood(self.p, self.q, self.v, x, mean).sum())

    def expected_value(self, x: Floats, mean: Floats) -> Floats:
        """Return the expected worth of an order: the contact's mean drawn towards the population's."""
        seen = np.where((x > 0) & np.isfinite(mean), x, 0.0)
        return self.p * (self.v + seen * np.nan_to_num(mean)) / (self.p * seen + self.q - 1)


def _log_likelihood(p: float, q: float, v: float, x: Floats, mean: Floats) -> Floats:
    px, ratio = p * x, x * mean / v
    return -betaln(px, q) - q * np.log1p(ratio) - px * np.log1p(1 / ratio) - np.log(mean)


def _slope(p: float, q: float, v: float, x: Floats, mean: Floats) -> Floats:
    """Return the gradient of the mean log-likelihood by p, q and v."""
    px, ratio = p * x, x * mean / v
    by_p = x * (digamma(px + q) - digamma(px) - np.log1p(1 / ratio))
    by_q = digamma(px + q) - digamma(q) - np.log1p(ratio)
    by_v = (q - (px + q) / (1 + ratio)) / v
    return np.array([by_p.mean(), by_q.mean(), by_v.mean()])
