"""What a decision needs beyond P(response): a response's worth, the risk of losing the contact, hours."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models._best_time import HOURS
from models.base import Floats
from models.candidates import Candidates

Seen = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Beyond:
    """Arrays of shape (contacts, channels), and (contacts, HOURS) for `factors`."""

    worth: Floats | None
    """Money a response brings; None where no orders were ever put down to messages."""
    risk: Floats
    """P(unsubscribes | message)."""
    factors: Floats
    """How much likelier a response is at an hour of the week than at any, in the contact's own time."""
    by_uplift: bool = False
    """Whether some of the worth is what sending nothing would not have brought."""

    @classmethod
    def of(cls, model: Any, candidates: Candidates, seen: Seen) -> "Beyond":
        """Ask a channel model; one that has learned nothing of it makes no difference.

        seen: (contacts, HOURS), how often each was there at that hour.
        """
        if hasattr(model, "beyond"):
            found: Beyond = model.beyond(candidates, seen)
            return found
        shape = (len(candidates), len(candidates.channels))
        return cls(None, np.zeros(shape), np.ones((len(candidates), HOURS)))
