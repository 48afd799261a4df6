"""How far what came lies from what was expected: quantiles of the ratio, by how much was expected.

Conformal in the sense of Romano, Patterson & Candès (2019), in groups: the ratios are taken from a window the
estimate was not learned on, so that the interval holds as often there as it says.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from models.base import Floats

GROUPS, LEAST = 12, 100
"""Groups at most, and rows of one at least."""


@dataclass(frozen=True)
class Spread:
    """Ratios at the interval's two ends, over the logarithm of what was expected (rising)."""

    logs: Floats
    low: Floats
    high: Floats

    @classmethod
    def learn(cls, expected: Floats, actual: Floats, level: float) -> Self:
        """Learn from positive expectations and what came; `level`: the share the interval is to hold."""
        held = expected > 0
        expected, ratio = expected[held], np.fmax(actual[held], 0.0) / expected[held]
        order = np.argsort(expected, kind="stable")
        groups = np.array_split(order, max(1, min(GROUPS, len(order) // LEAST)))
        tail = (1 - level) / 2
        return cls(
            np.array([np.log(expected[group]).mean() for group in groups]),
            np.array([np.quantile(ratio[group], tail) for group in groups]),
            np.array([np.quantile(ratio[group], 1 - tail) for group in groups]),
        )

    def interval(self, expected: Floats) -> tuple[Floats, Floats]:
        """Return the two ends; NaN for NaN."""
        at = np.log(np.where(expected > 0, expected, 1e-9))
        low, high = (np.interp(at, self.logs, ends) for ends in (self.low, self.high))
        return expected * np.minimum(low, 1.0), expected * np.maximum(high, 1.0)

    def to_json(self) -> dict[str, Any]:
        """Return what from_json reads."""
        return {"logs": self.logs.tolist(), "low": self.low.tolist(), "high": self.high.tolist()}

    @classmethod
    def from_json(cls, parts: dict[str, Any]) -> Self:
        """Read what to_json gave."""
        return cls(np.array(parts["logs"]), np.array(parts["low"]), np.array(parts["high"]))
