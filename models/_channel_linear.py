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

from models._scaling import Scaling
from models.base import Floats

SHARED, OWN = 10.0, 30.0
"""Ridge penalties on the coefficients of all channels and on what a channel adds."""


@dataclass(frozen=True)
class Linear:
    """Log-odds of a response: (shared + own[channel]) · scaled inputs + intercept[channel]."""

    scaling: Scaling
    shared: Floats
    """Shape (inputs,)."""
    own: Floats
    """Shape (channels, inputs)."""
    intercept: Floats
    """Shape (channels,)."""

    @classmethod
    def learn(cls, inputs: Floats, channel: npt.NDArray[np.int64], responses: Floats, channels: int) -> Self:
        """Fit by maximum penalised likelihood; inputs (messages, columns), NaN where unknown."""
        scaling = Scaling.learn(inputs)
        order = np.argsort(channel, kind="stable")
        x, y = scaling.of(inputs)[order], responses[order]
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
        return cls(scaling, table[0, :-1], table[1:, :-1], table[0, -1] + table[1:, -1])

    def odds(self, inputs: Floats, channel: int) -> Floats:
        """Return the log-odds of messages over one channel; inputs (contacts, columns)."""
        return np.asarray(
            self.scaling.of(inputs) @ (self.shared + self.own[channel]) + self.intercept[channel]
        )

    def to_json(self) -> dict[str, Any]:
        """Return what from_json reads."""
        arrays = {name: getattr(self, name).tolist() for name in ("shared", "own", "intercept")}
        return {"scaling": self.scaling.to_json(), **arrays}

    @classmethod
    def from_json(cls, parts: dict[str, Any]) -> Self:
        """Read what to_json gave."""
        arrays = (np.array(parts[name]) for name in ("shared", "own", "intercept"))
        return cls(Scaling.from_json(parts["scaling"]), *arrays)
