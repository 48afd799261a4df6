"""What off-policy evaluation starts from: a log of choices with their propensities, and a target policy.

A row is one message; a contact may have several. A policy is an array (rows, arms) of probabilities, one-hot
where it is deterministic. Choosing nothing is an arm like the others.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nextbest.errors import BadInput, NotReady

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class ThinOverlap(NotReady):
    """The log says too little about a policy that chooses otherwise; the message says what would help."""


@dataclass(frozen=True, eq=False)
class Log:
    """Choices of a known policy and what came of them. Raises BadInput where they cannot be used."""

    actions: Ints
    """(n,): the arm chosen, from 0."""
    rewards: Floats
    """(n,): what it brought, in any unit; estimates are in the same."""
    propensity: Floats
    """(n,): P(this arm | what was known), in (0, 1], of the policy that chose it."""
    contacts: npt.NDArray[Any] | None = None
    """(n,): whose message it was; rows of one contact are not independent. None: all rows are."""
    clusters: Ints = field(init=False, repr=False)
    """(n,): the contacts numbered from 0, or the rows."""

    def __post_init__(self) -> None:
        actions = np.asarray(self.actions)
        if actions.ndim != 1 or not len(actions):
            raise BadInput(f"actions have the shape {actions.shape}; one arm a row and one row at least")
        if not np.issubdtype(actions.dtype, np.integer) or actions.min() < 0:
            raise BadInput("actions must be numbers of arms: whole, from 0")
        rewards, propensity = self._numbers("rewards"), self._numbers("propensity")
        outside = (propensity <= 0) | (propensity > 1)
        if outside.any():
            raise BadInput(
                f"{outside.sum()} propensities are outside (0, 1], the first {propensity[outside][0]:g}; "
                "log the probability of the arm that was chosen, and leave out rows without one"
            )
        values = {"actions": actions.astype(np.int64), "rewards": rewards, "propensity": propensity}
        for name, value in {**values, "clusters": self._numbered()}.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def units(self) -> int:
        """Independent units: contacts where they are known, else rows."""
        return int(self.clusters.max()) + 1

    def _numbers(self, name: str) -> Floats:
        values = np.asarray(getattr(self, name), dtype=np.float64)
        if values.shape != np.shape(self.actions):
            raise BadInput(f"{name} have the shape {values.shape} for {len(self.actions)} actions")
        wrong = int((~np.isfinite(values)).sum())
        if wrong:
            raise BadInput(f"{wrong} of {len(values)} {name} are missing or infinite; leave those rows out")
        return values

    def _numbered(self) -> Ints:
        if self.contacts is None:
            return np.arange(len(self.actions))
        if np.shape(self.contacts) != np.shape(self.actions):
            raise BadInput(f"contacts have the shape {np.shape(self.contacts)}; one a row is needed")
        codes = np.asarray(pd.factorize(np.asarray(self.contacts))[0], dtype=np.int64)
        if codes.min() < 0:
            raise BadInput(f"{(codes < 0).sum()} rows have no contact; give each one, or none at all")
        return codes


def one_hot(choices: npt.ArrayLike, arms: int) -> Floats:
    """Return the deterministic policy (n, arms) that makes these choices."""
    chosen = np.asarray(choices)
    if chosen.size and not 0 <= chosen.min() <= chosen.max() < arms:
        raise BadInput(f"choices go from {chosen.min()} to {chosen.max()}; arms are 0 to {arms - 1}")
    policy = np.zeros((len(chosen), arms))
    policy[np.arange(len(chosen)), chosen] = 1.0
    return policy


def checked_policy(log: Log, policy: npt.ArrayLike) -> Floats:
    """Return the policy as an array (n, arms); BadInput where its rows are no probabilities."""
    array = np.asarray(policy, dtype=np.float64)
    arms = int(log.actions.max()) + 1
    if array.ndim != 2 or len(array) != len(log) or array.shape[1] < arms:
        raise BadInput(
            f"a policy of shape {array.shape} for {len(log)} rows and {arms} arms in the log; "
            "it must be (rows, arms), one-hot where it is deterministic"
        )
    sums = array.sum(axis=1)
    wrong = ~(np.abs(sums - 1.0) <= 1e-6)  # also where a sum is NaN
    if wrong.any() or array.min() < 0:
        raise BadInput(
            f"{wrong.sum()} rows of the policy do not sum to 1 (lowest probability {array.min():g}); "
            "choosing nothing needs an arm of its own"
        )
    return array


def importance(log: Log, policy: Floats) -> Floats:
    """Return (n,): P(the logged arm) under the policy over its propensity."""
    return policy[np.arange(len(log)), log.actions] / log.propensity


def by_unit(log: Log, values: Floats) -> Floats:
    """Return (units,): the values summed over each contact."""
    return np.bincount(log.clusters, weights=values).astype(np.float64)


def kish(weights: Floats) -> float:
    """Return (Σw)² / Σw²: as many equal weights would tell as much (Kish 1965); 0 without any weight."""
    squares = float(weights @ weights)
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0
