"""Whether a log can speak about a policy at all."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from nextbest.errors import BadInput
from training._off_policy_log import Log, ThinOverlap, by_unit, checked_policy, importance, kish

MIN_EFFECTIVE = 50.0
"""Effective rows, and contacts, below which an interval rests on a handful of them. The share of the largest
weight needs no bound of its own: it is below 1 / √50 = 14 % then."""
MAX_UNSEEN = 0.05
"""Share of the policy that may lie on arms the log never shows."""


@dataclass(frozen=True)
class Overlap:
    """How much of a log a target policy can use; weights are target over logged probability (Owen, ch. 9)."""

    rows: int
    effective_sample_size: float
    """Kish's effective number of rows."""
    effective_contacts: float
    """The same of the contacts' summed weights; without contacts that of the rows."""
    max_weight_share: float
    """The largest weight over the sum of all."""
    mean_weight: float
    """About 1 where propensities are right and the log could have held every arm the target chooses; lower by
    the share it chooses where the log could not, far from it where single weights decide."""
    unseen_mass: float
    """Share of the target's choices on arms the log never shows: nothing but a model can tell of them."""

    @classmethod
    def of(cls, log: Log, policy: npt.ArrayLike, logged: npt.ArrayLike | None = None) -> Self:
        """Measure it. `logged` (n, arms): all propensities of the logging policy, where they are known.

        An arm is unseen in a row where its propensity is 0, or, without `logged`, where no row has it.
        """
        target = checked_policy(log, policy)
        weights = importance(log, target)
        total = float(weights.sum())
        return cls(
            rows=len(log),
            effective_sample_size=kish(weights),
            effective_contacts=kish(by_unit(log, weights)),
            max_weight_share=float(weights.max()) / total if total > 0 else 0.0,
            mean_weight=total / len(log),
            unseen_mass=float((target * _unseen(log, target.shape, logged)).sum()) / len(log),
        )

    def require(self, effective: float = MIN_EFFECTIVE, unseen: float = MAX_UNSEEN) -> None:
        """Raise ThinOverlap where fewer rows or contacts count, or more of the policy is unseen."""
        fewest = min(self.effective_sample_size, self.effective_contacts)
        if fewest >= effective and self.unseen_mass <= unseen:
            return
        raise ThinOverlap(
            f"of {self.rows:,} logged rows {self.effective_sample_size:.1f} count for this policy, "
            f"{self.effective_contacts:.1f} where a contact counts once ({effective:g} are needed); one row "
            f"has {self.max_weight_share:.1%} of the weight, weights average {self.mean_weight:.2f} (1 is "
            f"right), and {self.unseen_mass:.1%} of the policy's choices are on arms the log never shows "
            f"({unseen:.0%} at most); what would help: more messages sent at random, a longer log, or a "
            "policy nearer to the one that sent them"
        )


def _unseen(log: Log, shape: tuple[int, ...], logged: npt.ArrayLike | None) -> npt.NDArray[np.bool_]:
    """Return where no reward could be seen: (n, arms), or (arms,) for all rows alike."""
    if logged is None:
        return np.bincount(log.actions, minlength=shape[1]) == 0
    known = np.asarray(logged, dtype=np.float64)
    if known.shape != shape:
        raise BadInput(f"logged propensities have the shape {known.shape}, the policy {shape}")
    return known == 0
