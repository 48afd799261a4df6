"""Logistic regression over contact and channel: coefficients for all channels, and what each adds to them.

Over a channel that little went out over, the deviations stay near zero and everyone's coefficients speak;
boosted trees, which have to find every channel's tastes anew, begin where it ends.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from models.base import Floats

SHARED, OWN = 10.0, 30.0
"""Ridge penalties on the coefficients of all channels and on what a channel adds."""
FURTHEST = 4.0
"""Standard deviations from the mean beyond which a value counts as that far."""


@dataclass(frozen=True)
class Linear:
    """Log-odds of a response: (shared + own[channel]) · scaled inputs + intercept[channel]."""

    mean: Floats
    spread: Floats
    shared: Floats
    """Shape (inputs,)."""
    own: Floats
    """Shape (channels, inputs)."""
    intercept: Floats
    """Shape (channels,)."""

    @classmethod
    def learn(cls, inputs: Floats, channel: npt.NDArray[np.int64], responses: Floats, channels: int) -> Self:
        """Fit by maximum penalised likelihood; inputs (messages, columns), NaN where unknown."""
        raw = _tamed(inputs)
        mean = np.nan_to_num(_nan(np.nanmean, raw))
        spread = np.nan_to_num(_nan(np.nanstd, raw), nan=1.0)
        spread = np.where(spread > 1e-9, spread, 1.0)
        order = np.argsort(channel, kind="stable")
        x, y = _scaled(raw, mean, spread)[order], responses[order]
        bounds = np.searchsorted(channel[order], np.arange(channels + 1))
        parts = [slice(a, b) for a, b in pairwise(bounds)]
        width = x.shape[1]

        def loss(weights: Floats) -> tuple[float, Floats]:
            table = weights.reshape(channels + 1, width + 1)
            slope = np.zeros_like(table)
            total = 0.0
            for place, rows in enumerate(parts):
                whole = table[0] + table[place + 1]
                odds = x[rows] @ whole[:-1] + whole[-1]
                total += float(np.logaddexp(0.0, odds).sum() - y[rows] @ odds)
                missed = expit(odds) - y[rows]
                slope[place + 1, :-1] = missed @ x[rows]
                slope[place + 1, -1] = missed.sum()
            slope[0] = slope[1:].sum(axis=0)
            for rows_of, penalty in ((slice(0, 1), SHARED), (slice(1, None), OWN)):
                total += 0.5 * penalty * float((table[rows_of, :-1] ** 2).sum())
                slope[rows_of, :-1] += penalty * table[rows_of, :-1]
            return total, slope.ravel()

        start = np.zeros((channels + 1, width + 1))
        start[0, -1] = np.log((y.sum() + 0.5) / (len(y) - y.sum() + 0.5))
        end = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 200})
        table = end.x.reshape(channels + 1, width + 1)
        return cls(mean, spread, table[0, :-1], table[1:, :-1], table[0, -1] + table[1:, -1])

    def odds(self, inputs: Floats, channel: int) -> Floats:
        """Return the log-odds of messages over one channel; inputs (contacts, columns)."""
        scaled = _scaled(_tamed(inputs), self.mean, self.spread)
        return np.asarray(scaled @ (self.shared + self.own[channel]) + self.intercept[channel])

    def to_json(self) -> dict[str, Any]:
        """Return what from_json reads."""
        return {name: getattr(self, name).tolist() for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, parts: dict[str, Any]) -> Self:
        """Read what to_json gave."""
        return cls(**{name: np.array(values) for name, values in parts.items()})


def _tamed(inputs: Floats) -> Floats:
    """Return counts and amounts by their logarithm, with their sign."""
    return np.asarray(np.sign(inputs) * np.log1p(np.abs(inputs)))


def _scaled(raw: Floats, mean: Floats, spread: Floats) -> Floats:
    return np.clip(np.nan_to_num((raw - mean) / spread), -FURTHEST, FURTHEST)


def _nan(statistic: Any, raw: Floats) -> Floats:
    """Return a column statistic, NaN where a column holds nothing."""
    held = np.isfinite(raw).any(axis=0)
    out = np.full(raw.shape[1], np.nan)
    out[held] = statistic(raw[:, held], axis=0)
    return out
