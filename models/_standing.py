"""Where a probability stands among those of the contacts a model was learned on: percentile and band."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from models.base import Floats

BANDS = ("low", "medium", "high")
UNKNOWN = "unknown"
MEDIUM_FROM, HIGH_FROM = 0.5, 0.8
"""The half least likely is "low", the fifth most likely "high"."""


@dataclass(frozen=True)
class Standing:
    """Quantiles 0 … 100 of a distribution, and the two probabilities where the bands begin."""

    quantiles: Floats
    medium_from: float
    high_from: float

    @classmethod
    def learn(cls, probabilities: Floats) -> Self:
        """Learn from the probabilities of many contacts; NaN does not count."""
        known = probabilities[np.isfinite(probabilities)]
        medium, high = np.quantile(known, [MEDIUM_FROM, HIGH_FROM])
        return cls(np.quantile(known, np.linspace(0, 1, 101)), float(medium), float(high))

    def percentile(self, probabilities: Floats) -> Floats:
        """Return 0 … 100: the share of the contacts learned on at or below; the middle of equal ones."""
        last = len(self.quantiles) - 1
        low = np.searchsorted(self.quantiles, probabilities, side="left")
        high = np.searchsorted(self.quantiles, probabilities, side="right")
        steps = np.arange(last + 1)
        between = np.interp(probabilities, self.quantiles, steps)
        place = np.where(high > low, (low + high - 1) / 2, between)
        return np.where(np.isfinite(probabilities), place * 100 / last, np.nan)

    def band(self, probabilities: Floats) -> npt.NDArray[np.object_]:
        """Return low, medium or high; "unknown" for NaN. A probability on the border belongs above it."""
        names = np.array(BANDS, dtype=object)
        place = (probabilities >= self.medium_from).astype(int) + (probabilities >= self.high_from)
        return np.where(np.isfinite(probabilities), names[place], UNKNOWN)

    def to_json(self) -> dict[str, Any]:
        """Return what from_json reads."""
        cuts = {"medium_from": self.medium_from, "high_from": self.high_from}
        return {"quantiles": self.quantiles.tolist(), **cuts}

    @classmethod
    def from_json(cls, parts: dict[str, Any]) -> Self:
        """Read what to_json gave."""
        return cls(np.array(parts["quantiles"]), parts["medium_from"], parts["high_from"])
