"""A log of messages, as the channel models learn from it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.base import Floats
from models.candidates import Candidates


@dataclass(frozen=True)
class ChannelLog:
    """Messages in the order they were sent, and what was known just before each."""

    states: Candidates
    """One row a message (contact_id may repeat), over all channels that could have been chosen."""
    sent: npt.NDArray[np.int64]
    """Which of states.channels it went over."""
    responses: Floats
    """1 where it was opened or clicked in time, else 0."""
    propensity: Floats
    """P(this channel was chosen) under the policy that sent it; NaN where not recorded."""

    def __len__(self) -> int:
        return len(self.sent)

    def take(self, rows: npt.NDArray[Any]) -> "ChannelLog":
        """Return the given messages only."""
        return ChannelLog(
            self.states.take(rows), self.sent[rows], self.responses[rows], self.propensity[rows]
        )

    def names(self) -> npt.NDArray[np.object_]:
        """Return the channel of each message by name."""
        return np.array(self.states.channels, dtype=object)[self.sent]
