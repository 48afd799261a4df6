"""The channel that does best for everyone: what a choice by contact has to beat."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from models._ranked import Estimate, Value, ranked
from models.base import Floats
from models.candidates import Candidates


class BestArm:
    """Answers everyone with the overall response rates of the channels."""

    kind: ClassVar[str] = "best_arm"

    def __init__(self, answered: Mapping[str, float], sent: Mapping[str, float]) -> None:
        self.answered, self.sent = dict(answered), dict(sent)

    @classmethod
    def learn(cls, channels: Sequence[str], responses: Floats) -> Self:
        """Count messages and responses; `channels` and `responses` (0 or 1) have an entry a message."""
        table = pd.DataFrame({"channel": channels, "response": responses}).groupby("channel")["response"]
        counts = table.agg(["sum", "size"]).astype(np.float64)
        return cls(*({str(name): float(n) for name, n in counts[of].items()} for of in ("sum", "size")))

    def estimate(self, candidates: Candidates) -> Estimate:
        """Return the rates, the same for every contact; unknown channels half of ten."""
        sent = np.array([self.sent.get(channel, 0.0) for channel in candidates.channels]) + 10
        rate = (np.array([self.answered.get(channel, 0.0) for channel in candidates.channels]) + 0.5) / sent
        shape = (len(candidates), len(candidates.channels))
        source = np.full(shape, self.kind, dtype=object)
        return Estimate(np.broadcast_to(rate, shape), np.broadcast_to(sent, shape), source)

    def rank(
        self,
        frame: pd.DataFrame,
        channels: Sequence[str],
        value: Value = 1.0,
        costs: Mapping[str, float] | None = None,
    ) -> pd.DataFrame:
        """Return the same order for every contact (columns: models._ranked.ranked)."""
        candidates = Candidates.from_long(frame, channels)
        return ranked(candidates, self.estimate(candidates), value, costs)

    def save(self, folder: Path) -> None:
        """Write best_arm.json."""
        (folder / "best_arm.json").write_text(json.dumps({"answered": self.answered, "sent": self.sent}))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what save wrote."""
        return cls(**json.loads((folder / "best_arm.json").read_text()))
