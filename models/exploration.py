"""Showing items nobody has seen yet, by a policy whose every propensity is known exactly.

Let there be s slots and a pool of m >= s new items, none of them in a slot. Each slot is given away with
probability epsilon, independently; a slot given away gets an item of the pool, drawn evenly without
replacement. The number of slots given away, N, is binomial with mean s * epsilon, and given N each item of
the pool is drawn with probability N / m. So

    P(the item of a slot stays)     = 1 - epsilon
    P(an item of the pool is shown) = s * epsilon / m

where fewer than s items are in the pool, only the last m slots may be given away.
"""

from dataclasses import dataclass

import numpy as np

from nextbest.errors import BadInput


@dataclass(frozen=True)
class Draw:
    """What became of each slot: `chosen` holds the place in the pool, or None where the slot was kept."""

    chosen: tuple[int | None, ...]
    propensities: tuple[float, ...]
    """Probability that what is in the slot now was shown at all, in (0, 1]."""
    at_risk: int
    """Slots that might have been given away."""


def explore(slots: int, pool: int, epsilon: float, rng: np.random.Generator) -> Draw:
    """Give away some of so many slots to some of so many new items. Raises BadInput for no probability."""
    if not 0.0 <= epsilon <= 1.0:
        raise BadInput(f"epsilon is {epsilon}; a probability lies between 0 and 1")
    at_risk = min(slots, pool)
    given_away = np.flatnonzero(rng.random(at_risk) < epsilon) + (slots - at_risk)
    drawn = rng.choice(pool, len(given_away), replace=False) if len(given_away) else given_away
    new = dict(zip(given_away.tolist(), drawn.tolist(), strict=True))
    chosen = tuple(new.get(slot) for slot in range(slots))
    kept = [1.0 if slot < slots - at_risk else 1.0 - epsilon for slot in range(slots)]
    shown = at_risk * epsilon / max(pool, 1)
    propensities = tuple(kept[slot] if place is None else shown for slot, place in enumerate(chosen))
    return Draw(chosen, propensities, at_risk)


def generator(decision_id: str) -> np.random.Generator:
    """Return the source of chance of a decision (its id in hexadecimal): the same each time."""
    return np.random.default_rng(int(decision_id, 16))
