"""Maximum likelihood over the logarithms of positive parameters: several starts, and a check of every end.

A parameter may run to infinity or to nothing (nobody leaves, all orders are worth the same): the search is
bounded, and an end at a bound, with the slope pointing outwards, is an optimum like any other.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize

from models.base import Floats
from nextbest.errors import NotReady

LOG_BOUND = 14.0
"""Parameters are sought between e^-14 and e^14."""
FLAT = 1e-4
"""A slope counts as none below this, or below this share of the loss (Dennis & Schnabel 1983, chapter 7)."""
_OPTIONS = {"maxiter": 2000, "ftol": 1e-15, "gtol": 1e-9}

Loss = Callable[[Floats], tuple[float, Floats]]
"""Logarithms -> the loss of a contact in the mean, and its gradient."""


def optimum(loss: Loss, starts: Sequence[Sequence[float]], model: str, contacts: int) -> Floats:
    """Return the logarithms at the best end; raises NotReady where no start converges."""
    bounds = [(-LOG_BOUND, LOG_BOUND)] * len(starts[0])
    ends = [
        minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=_OPTIONS)
        for start in starts
    ]
    good = [end for end in ends if np.isfinite(end.fun) and _is_flat(end.x, end.jac, float(end.fun))]
    if not good:
        slope = min(float(np.abs(end.jac).max()) for end in ends)
        raise NotReady(
            f"{model} did not converge on {contacts} contacts: the search ended where "
            f"the likelihood still rises (slope {slope:.1e}); more contacts or a longer history would help"
        )
    return np.asarray(min(good, key=lambda end: float(end.fun)).x, dtype=np.float64)


def _is_flat(logs: Floats, slope: Floats, loss: float) -> bool:
    at_wall = (np.abs(logs) >= LOG_BOUND - 1e-9) & (np.sign(slope) == -np.sign(logs))
    return bool(np.all(at_wall | (np.abs(slope) < FLAT * max(1.0, abs(loss)))))
