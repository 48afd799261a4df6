"""BG/NBD: how often contacts buy and whether they have left, from x repeat orders up to t_x, seen until T.

Fader, Hardie & Lee (2005), "Counting your customers the easy way", Marketing Science 24(2). While a contact
is alive, orders are Poisson with rate λ ~ Gamma(r, α); after each order it leaves with probability
p ~ Beta(a, b). All arrays have shape (contacts,); times are in one unit, whichever.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, betaln, digamma, gammaln, hyp2f1

from models._optimum import optimum
from models.base import Floats

STARTS = ((0.0, 0.0, 0.0, 0.0), (-1.5, -1.5, -0.5, 1.0), (1.0, -1.0, -2.0, 1.0), (0.0, 0.0, -4.0, 4.0))
"""Logarithms of (r, α, a, b) to start from, α in units of the mean time seen; the best end wins."""


@dataclass(frozen=True)
class BgNbd:
    """The four parameters; `alpha` in the unit of the times."""

    r: float
    alpha: float
    a: float
    b: float

    @classmethod
    def fit(cls, x: Floats, t_x: Floats, seen: Floats) -> Self:
        """Maximise the likelihood; raises NotReady where no start converges."""
        scale = float(np.mean(seen))
        rows, weights = np.unique(
            np.stack([x, t_x / scale, seen / scale], axis=1), axis=0, return_counts=True
        )
        size = float(weights.sum())

        def loss(logs: Floats) -> tuple[float, Floats]:
            value, slope = _log_likelihood(logs, rows.T, weights)
            return -value / size, -slope / size

        r, alpha, a, b = np.exp(optimum(loss, STARTS, "BG/NBD", int(size)))
        return cls(float(r), float(alpha * scale), float(a), float(b))

    def log_likelihood(self, x: Floats, t_x: Floats, seen: Floats) -> float:
        """Return the log-likelihood of contacts, as a sum."""
        logs = np.log([self.r, self.alpha, self.a, self.b])
        return _log_likelihood(logs, np.stack([x, t_x, seen]), np.ones(len(x)))[0]

    def p_alive(self, x: Floats, t_x: Floats, seen: Floats) -> Floats:
        """Return P(has not left): 1 for a contact without repeat orders, by the model's assumption.

        Fader, Hardie & Lee (2008), "Computing P(alive) using the BG/NBD model".
        """
        with np.errstate(over="ignore"):
            odds = (
                self.a
                / (self.b + np.maximum(x, 1) - 1)
                * np.exp((self.r + x) * (np.log(self.alpha + seen) - np.log(self.alpha + t_x)))
            )
        return np.where(x > 0, 1 / (1 + odds), 1.0)

    def expected_orders(self, x: Floats, t_x: Floats, seen: Floats, horizon: float | Floats) -> Floats:
        """Return the expected orders in the next `horizon` (equation 10 of the paper).

        Euler's transformation of its 2F1 keeps the terms in range for contacts with hundreds of orders: with
        z = t/(α+T+t), (1-z)^(r+x) 2F1(r+x, b+x; a+b+x-1; z) = (1-z)^(a-1) 2F1(a+b-1-r, a-1; a+b+x-1; z).
        """
        a = self.a if abs(self.a - 1) > 1e-6 else 1 + 1e-6
        z = horizon / (self.alpha + seen + horizon)
        top = self.a + self.b + x - 1
        with np.errstate(all="ignore"):
            tail = (1 - z) ** (a - 1) * hyp2f1(a + self.b - 1 - self.r, a - 1, a + self.b + x - 1, z)
            closed = top / (a - 1) * (1 - tail)
        if_staying = (self.r + x) / (self.alpha + seen) * horizon
        trusted = np.isfinite(closed) & (closed > 0) & (closed <= if_staying * (1 + 1e-6)) & (top > 0)
        if not trusted.all():
            closed = np.where(trusted, closed, self._summed(x, seen, horizon))
        return self.p_alive(x, t_x, seen) * closed

    def p_at_least(self, n: int, x: Floats, t_x: Floats, seen: Floats, horizon: float | Floats) -> Floats:
        """Return P(n or more orders within `horizon`), n ≥ 1.

        Given that the contact is alive, λ and p are independent with posteriors Gamma(r+x, α+T) and
        Beta(a, b+x); n orders must fall due, and it must not have left after any of the n-1 before the last:
        P(alive) P(NB ≥ n) B(a, b+x+n-1) / B(a, b+x).
        """
        return self.p_alive(x, t_x, seen) * self._if_alive(n, x, seen, horizon)

    def p_none(self, x: Floats, t_x: Floats, seen: Floats, horizon: float | Floats) -> Floats:
        """Return P(no order within `horizon`) = 1 - P(alive) (1 - ((α+T)/(α+T+horizon))^(r+x)).

        Exact: in this model a contact leaves only upon an order, so one that is alive stays until its next.
        """
        return 1 - self.p_at_least(1, x, t_x, seen, horizon)

    def median_wait(self, x: Floats, t_x: Floats, seen: Floats) -> Floats:
        """Return the time within which the next order comes with probability ½; NaN where it never does."""
        alive = self.p_alive(x, t_x, seen)
        with np.errstate(all="ignore"):
            wait = (self.alpha + seen) * np.expm1(-np.log1p(-0.5 / alive) / (self.r + x))
        return np.where((alive > 0.5) & np.isfinite(wait), wait, np.nan)

    def _if_alive(self, n: int, x: Floats, seen: Floats, horizon: float | Floats) -> Floats:
        due = betainc(n, self.r + x, horizon / (self.alpha + seen + horizon))
        stayed = betaln(self.a, self.b + x + n - 1) - betaln(self.a, self.b + x)
        return due * np.exp(stayed)

    def _summed(self, x: Floats, seen: Floats, horizon: float | Floats) -> Floats:
        """Return the expected orders of a contact that is alive as Σ P(n or more), where 2F1 gives way."""
        total = np.zeros(len(x))
        for n in range(1, 10_000):
            term = self._if_alive(n, x, seen, horizon)
            total += term
            if float(term.max(initial=0.0)) < 1e-12:
                break
        return total


def _log_likelihood(
    logs: Floats, data: Floats, weights: npt.NDArray[np.int64] | Floats
) -> tuple[float, Floats]:
    """Return the log-likelihood and its gradient by log (r, α, a, b); data: x, t_x, T, shape (3, rows)."""
    r, alpha, a, b = np.exp(logs)
    x, t_x, seen = data
    late, early = np.log(alpha + seen), np.log(alpha + t_x)
    common = (
        gammaln(r + x) - gammaln(r) + r * np.log(alpha) + gammaln(a + b) + gammaln(b + x) - gammaln(b)
    ) - gammaln(a + b + x)
    again = np.maximum(x, 1)
    stays = -(r + x) * late
    left = np.where(x > 0, np.log(a) - np.log(b + again - 1) - (r + x) * early, -np.inf)
    either = np.logaddexp(stays, left)
    w_stays, w_left = np.exp(stays - either), np.exp(left - either)
    slopes = (
        digamma(r + x) - digamma(r) + np.log(alpha) - w_stays * late - w_left * early,
        r / alpha - (r + x) * (w_stays / (alpha + seen) + w_left / (alpha + t_x)),
        digamma(a + b) - digamma(a + b + x) + w_left / a,
        digamma(a + b) + digamma(b + x) - digamma(b) - digamma(a + b + x) - w_left / (b + again - 1),
    )
    by_log = np.array([float(weights @ slope) for slope in slopes]) * np.array([r, alpha, a, b])
    return float(weights @ (common + either)), by_log
