"""Features for linear models: counts and amounts by their logarithm, centred, of one spread, none extreme."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from models.base import Floats

FURTHEST = 4.0
"""Standard deviations from the mean beyond which a value counts as that far."""


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of each column's signed logarithm; unknown values come to lie at 0."""

    mean: Floats
    spread: Floats

    @classmethod
    def learn(cls, inputs: Floats) -> Self:
        """Learn from rows of inputs, NaN where unknown."""
        raw = _tamed(inputs)
        spread = np.nan_to_num(_known(np.nanstd, raw), nan=1.0)
        return cls(np.nan_to_num(_known(np.nanmean, raw)), np.where(spread > 1e-9, spread, 1.0))

    def of(self, inputs: Floats) -> Floats:
        """Return the inputs scaled."""
        scaled = np.nan_to_num((_tamed(inputs) - self.mean) / self.spread)
        return np.clip(scaled, -FURTHEST, FURTHEST, out=scaled)

    def to_json(self) -> dict[str, Any]:
        """Return what from_json reads."""
        return {"mean": self.mean.tolist(), "spread": self.spread.tolist()}

    @classmethod
    def from_json(cls, parts: dict[str, Any]) -> Self:
        """Read what to_json gave."""
        return cls(np.array(parts["mean"]), np.array(parts["spread"]))


def _tamed(inputs: Floats) -> Floats:
    return np.asarray(np.copysign(np.log1p(np.abs(inputs)), inputs))


def _known(statistic: Callable[..., Floats], raw: Floats) -> Floats:
    """Return a column statistic, NaN where a column holds nothing."""
    held = np.isfinite(raw).any(axis=0)
    out = np.full(raw.shape[1], np.nan)
    out[held] = statistic(raw[:, held], axis=0)
    return out
