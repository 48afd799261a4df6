"""Unsubscribing: how often a message makes its receiver leave the channel, the oftener the more were sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from models.base import Floats

EDGES = (0.5, 1.5, 2.5)
"""Messages of the last week over all channels (half-life seven days) at which the next class begins."""
STRENGTH = 500.0
"""Messages a channel's rate weighs as much as in each class, and everyone's rate in each channel."""


@dataclass(frozen=True)
class Unsubscribing:
    """P(unsubscribes | message) by channel and class of recent messages, each drawn to the wider rate."""

    everyone: float
    channels: Mapping[str, tuple[float, ...]]
    """Channel -> a rate for each class; a channel without messages has everyone's."""

    @classmethod
    def unknown(cls) -> Self:
        """Return what takes nobody for leaving: no unsubscription was ever recorded."""
        return cls(0.0, {})

    @classmethod
    def learn(
        cls, names: npt.NDArray[np.object_], recent: Floats, left: npt.NDArray[np.bool_] | Floats
    ) -> Self:
        """Learn from one entry a message: its channel, messages of the week before it, whether they left."""
        if not len(names) or not np.any(left):
            return cls.unknown()
        left = np.asarray(left, dtype=np.float64)
        everyone, of_class, channels = float(left.mean()), np.digitize(recent, EDGES), {}
        for name in np.unique(names.astype(str)):
            rows = names == name
            channel = _drawn(left[rows].sum(), float(rows.sum()), everyone)
            counts = np.bincount(of_class[rows], minlength=len(EDGES) + 1)
            gone = np.bincount(of_class[rows], left[rows], minlength=len(EDGES) + 1)
            channels[str(name)] = tuple(
                float(_drawn(g, n, channel)) for g, n in zip(gone, counts, strict=True)
            )
        return cls(everyone, channels)

    def risk(self, channels: tuple[str, ...], recent: Floats) -> Floats:
        """Return P(unsubscribes), shape (contacts, channels); recent: as in learn, (contacts,)."""
        everyone = (self.everyone,) * (len(EDGES) + 1)
        table = np.array([self.channels.get(name, everyone) for name in channels])
        return np.asarray(table[:, np.digitize(recent, EDGES)].T)

    def to_json(self) -> dict[str, Any]:
        """Return what from_json reads."""
        return {"everyone": self.everyone, "channels": {k: list(v) for k, v in self.channels.items()}}

    @classmethod
    def from_json(cls, parts: Mapping[str, Any]) -> Self:
        """Read what to_json gave."""
        return cls(parts["everyone"], {name: tuple(rates) for name, rates in parts["channels"].items()})


def _drawn(hits: float, count: float, prior: float) -> float:
    return (hits + STRENGTH * prior) / (count + STRENGTH)
