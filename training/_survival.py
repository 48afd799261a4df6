"""How long until something happens, where for some it has not happened yet (Kaplan & Meier 1958)."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
NORMAL = 1.959964
"""Quantile of the normal distribution for 95 %."""


@dataclass(frozen=True)
class Survival:
    """The share still waiting after each time at which it happened to somebody; parallel, times rising."""

    times: Floats
    share: Floats
    low: Floats
    """95 % interval of the share: Greenwood's variance on the scale of log(-log)."""
    high: Floats

    @classmethod
    def learn(cls, durations: Floats, happened: npt.NDArray[np.bool_]) -> Self:
        """Estimate from durations; where it has not `happened`, it takes longer than the duration."""
        order = np.argsort(durations, kind="stable")
        lasted, came = durations[order], happened[order].astype(np.float64)
        times, first = np.unique(lasted, return_index=True)
        events = np.add.reduceat(came, first) if len(came) else np.empty(0)
        at_risk = len(lasted) - first.astype(np.float64)
        times, events, at_risk = (part[events > 0] for part in (times, events, at_risk))
        share: Floats = np.cumprod(1.0 - events / at_risk).astype(np.float64)
        return cls(times, share, *_interval(share, events, at_risk))

    def quantile(self, part: float) -> float:
        """Return when it has happened to a part of all; NaN where that is beyond what was seen."""
        return _reached(self.times, self.share, part)

    def quantile_interval(self, part: float) -> tuple[float, float]:
        """Return the 95 % interval of a quantile (Brookmeyer & Crowley 1982); NaN where it is open."""
        return _reached(self.times, self.low, part), _reached(self.times, self.high, part)


def _reached(times: Floats, share: Floats, part: float) -> float:
    found = np.flatnonzero(share <= 1.0 - part + 1e-12)
    return float(times[found[0]]) if len(found) else float("nan")


def _interval(share: Floats, events: Floats, at_risk: Floats) -> tuple[Floats, Floats]:
    """Return share^exp(±z·se); where nobody is left, or everybody, the share itself."""
    low, high = share.copy(), share.copy()
    inside = (share > 0) & (share < 1)
    variance = np.cumsum(
        np.divide(events, at_risk * (at_risk - events), where=at_risk > events, out=events * 0.0)
    )
    level = np.log(share[inside])
    spread = np.exp(NORMAL * np.sqrt(variance[inside]) / -level)
    low[inside], high[inside] = share[inside] ** spread, share[inside] ** (1.0 / spread)
    return low, high
