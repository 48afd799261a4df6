"""The published rule: interactions per message received, the channel with most of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from models._ranked import Estimate, Value, ranked
from models.best_arm import BestArm
from models.candidates import Candidates

NOT_ENOUGH_DATA = "not_enough_data"
LEAST_MESSAGES = 3
LEAST_CHANNELS = 2
TIE = 1e-9
"""Weight of the latest response in breaking ties, a day; far below one message in any count."""


class Interactions:
    """Opens and clicks ÷ messages received per channel, as Braze's Intelligent Channel is documented.

    One interaction a message, at least 3 messages over 2 channels, else "not enough data" (NaN); ties go to
    the latest response. Its six months are a half-life of 90 days here, which is what a contact's state
    holds. With `best_arm` given, contacts without an answer get everyone's.
    """

    kind: ClassVar[str] = "interactions"

    def __init__(self, best_arm: BestArm | None = None) -> None:
        self.best_arm = best_arm

    def estimate(self, candidates: Candidates) -> Estimate:
        """Return the rates; 0 over a channel that sent nothing to a contact with enough data."""
        sent, answered = candidates.evidence()
        with np.errstate(invalid="ignore", divide="ignore"):
            rate = np.where(sent > 0, answered / sent, 0.0)
        total = candidates.of("sent_total")
        enough = (total.sum(axis=1) >= LEAST_MESSAGES) & ((total > 0).sum(axis=1) >= LEAST_CHANNELS)
        known = np.broadcast_to(enough[:, None], rate.shape)
        days = candidates.of("days_since_response")
        rate = np.clip(rate - TIE * np.nan_to_num(days, nan=1e4), 0.0, 1.0)
        source = np.where(known, self.kind, NOT_ENOUGH_DATA).astype(object)
        own = Estimate(np.where(known, rate, np.nan), sent + 1, source)
        if self.best_arm is None:
            return own
        arm = self.best_arm.estimate(candidates)
        return Estimate(
            np.where(known, own.probability, arm.probability),
            np.where(known, own.strength, arm.strength),
            np.where(known, own.source, arm.source),
        )

    def rank(
        self,
        frame: pd.DataFrame,
        channels: Sequence[str],
        value: Value = 1.0,
        costs: Mapping[str, float] | None = None,
    ) -> pd.DataFrame:
        """Return the channels by their rate (columns: models._ranked.ranked)."""
        candidates = Candidates.from_long(frame, channels)
        return ranked(candidates, self.estimate(candidates), value, costs)

    def save(self, folder: Path) -> None:
        """Write interactions.json, and best_arm/ where contacts are topped up."""
        (folder / "interactions.json").write_text(json.dumps({"topped_up": self.best_arm is not None}))
        if self.best_arm is not None:
            (folder / "best_arm").mkdir()
            self.best_arm.save(folder / "best_arm")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what save wrote."""
        topped_up = json.loads((folder / "interactions.json").read_text())["topped_up"]
        return cls(BestArm.load(folder / "best_arm") if topped_up else None)
