"""What a choice of channels would have earned, from messages sent by another choice."""

import numpy as np
import numpy.typing as npt

from models.base import Floats

ROUNDS = 400


def policy_weights(agrees: npt.NDArray[np.bool_], propensity: Floats) -> Floats:
    """Return 1/propensity where the policy would have sent what was sent, 0 elsewhere, shape (messages,)."""
    return np.where(agrees, 1.0 / propensity, 0.0)


def policy_value(weights: Floats, outcomes: Floats) -> float:
    """Return the policy's mean outcome by self-normalised inverse propensity (Swaminathan & Joachims 2015).

    NaN where the policy agrees with no message.
    """
    total = float(weights.sum())
    return float(weights @ outcomes) / total if total > 0 else float("nan")


def surely_better(ours: Floats, theirs: Floats, outcomes: Floats, seed: int, level: float = 0.95) -> bool:
    """Tell whether the policy with weights `ours` earns more than `theirs`: one-sided paired bootstrap."""
    random = np.random.default_rng(seed)
    gains = np.empty(ROUNDS)
    for row in range(ROUNDS):
        drawn = random.integers(0, len(outcomes), len(outcomes))
        gains[row] = policy_value(ours[drawn], outcomes[drawn]) - policy_value(theirs[drawn], outcomes[drawn])
    return bool(np.nanquantile(gains, 1 - level) > 0)


def surely_gains(gains: Floats, errors: float = 1.645) -> bool:
    """Tell whether gains are above zero by so many standard errors (1.645: one-sided, 95 %)."""
    return bool(gains.mean() > errors * gains.std() / np.sqrt(len(gains)))
