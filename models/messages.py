"""A log of messages, as the channel models learn from it."""

from dataclasses import dataclass, fields
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
    hours: npt.NDArray[np.int64] | None = None
    """Hour of the week it was sent at, in the contact's own time; 0 is Monday, midnight to one."""
    seen: npt.NDArray[np.float32] | None = None
    """Shape (messages, 168): how often the contact was there at each hour of the week, before it."""
    left: Floats | None = None
    """1 where the contact unsubscribed over it, else 0."""
    earned: Floats | None = None
    """Money of the orders that are put down to it."""

    def __len__(self) -> int:
        return len(self.sent)

    def take(self, rows: npt.NDArray[Any]) -> "ChannelLog":
        """Return the given messages only."""
        held = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "states"}
        parts: dict[str, Any] = {name: None if v is None else v[rows] for name, v in held.items()}
        return ChannelLog(self.states.take(rows), **parts)

    def names(self) -> npt.NDArray[np.object_]:
        """Return the channel of each message by name."""
        return np.array(self.states.channels, dtype=object)[self.sent]
