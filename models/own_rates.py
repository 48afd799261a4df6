"""The contact's own response rates, leaning on nobody else's: what answers before anything is learned."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from models._ranked import Estimate, Value, ranked
from models.candidates import Candidates


@dataclass(frozen=True)
class OwnRatesConfig:
    """The prior, and how much of a contact's history counts as evidence."""

    rate: float = 0.1
    """Response rate assumed before the first message."""
    strength: float = 2.0
    """Messages that assumption weighs as much as."""
    least_messages: int = 3
    """Messages over a channel from which the rate counts as the contact's own."""


class OwnRates:
    """Responses over messages per channel, both decayed with 90 days, drawn to a fixed rate; learns nothing.

    `source` is "own_rates", or "default" where the contact was sent too little over the channel.
    """

    kind: ClassVar[str] = "own_rates"

    def __init__(self, config: OwnRatesConfig | None = None) -> None:
        self.config = config or OwnRatesConfig()

    def estimate(self, candidates: Candidates) -> Estimate:
        """Return the smoothed rates, shape (contacts, channels)."""
        sent, answered = candidates.evidence()
        strength = self.config.strength + sent
        own = candidates.of("sent_total") >= self.config.least_messages
        source = np.where(own, self.kind, "default").astype(object)
        return Estimate((self.config.rate * self.config.strength + answered) / strength, strength, source)

    def rank(
        self,
        frame: pd.DataFrame,
        channels: Sequence[str],
        value: Value = 1.0,
        costs: Mapping[str, float] | None = None,
    ) -> pd.DataFrame:
        """Return the channels by their worth (columns: models._ranked.ranked)."""
        candidates = Candidates.from_long(frame, channels)
        return ranked(candidates, self.estimate(candidates), value, costs)

    def save(self, folder: Path) -> None:
        """Write own_rates.json: the configuration is all there is."""
        (folder / "own_rates.json").write_text(json.dumps(asdict(self.config), indent=1))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what save wrote."""
        return cls(OwnRatesConfig(**json.loads((folder / "own_rates.json").read_text())))
