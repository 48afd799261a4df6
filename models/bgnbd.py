"""BG/NBD as a churn model: what the value model says of P(no order within its horizon)."""

import json
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from models._leaving import asked_days, leaving
from models._standing import Standing
from models.base import Floats
from models.value import Value


class BgNbdChurn:
    """The value model's p_no_order, answered as the churn model answers; stands behind it."""

    kind: ClassVar[str] = "bgnbd"

    def __init__(self, value: Value, standing: Standing) -> None:
        self.value, self.standing = value, standing

    @classmethod
    def learn(cls, frame: pd.DataFrame, value: Value | None = None) -> Self:
        """Take a value model, or learn one from contacts with orders; raises NotReady as that does."""
        value = value or Value.learn(frame)
        return cls(value, Standing.learn(_p_none(value, frame)))

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return probability, percentile, band and source."""
        return leaving(frame.index, _p_none(self.value, frame), self.standing, self.kind)

    predict = score

    def save(self, folder: Path) -> None:
        """Write value/ and standing.json."""
        (folder / "value").mkdir()
        self.value.save(folder / "value")
        (folder / "standing.json").write_text(json.dumps(self.standing.to_json()))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what save wrote."""
        standing = Standing.from_json(json.loads((folder / "standing.json").read_text()))
        return cls(Value.load(folder / "value"), standing)


def _p_none(value: Value, frame: pd.DataFrame) -> Floats:
    return value.p_none(frame, asked_days(frame, np.full(len(frame), value.config.horizon_days)))
