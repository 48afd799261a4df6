"""Recency against a contact's own cadence: the rule of thumb for churn, as a calibrated model."""

import json
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from models._calibration import Calibration
from models._frame import floats, orders
from models._leaving import leaving
from models._standing import Standing
from models.base import Floats
from nextbest.errors import NotReady

LEAST_ROWS = 50


class Recency:
    """P(no order within the horizon) as a rising step function of recency over the mean gap between orders.

    A contact with one order has no cadence: NaN, source "not_enough_data".
    """

    kind: ClassVar[str] = "recency"

    def __init__(self, calibration: Calibration, standing: Standing) -> None:
        self.calibration, self.standing = calibration, standing

    @classmethod
    def learn(cls, frame: pd.DataFrame, labels: Floats, seed: int = 0) -> Self:
        """Learn the curve, isotonic; raises NotReady with too few contacts or one outcome only."""
        share = _share(frame)
        known = np.isfinite(share)
        if known.sum() < LEAST_ROWS:
            raise NotReady(f"{int(known.sum())} contacts have a cadence of their own; needs {LEAST_ROWS}")
        calibration = Calibration.learn(share[known], labels[known], seed, "isotonic")
        return cls(calibration, Standing.learn(calibration.of(share)))

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return probability, percentile, band and source."""
        return leaving(frame.index, self.calibration.of(_share(frame)), self.standing, self.kind)

    predict = score

    def save(self, folder: Path) -> None:
        """Write recency.json."""
        parts = {"calibration": self.calibration.to_json(), "standing": self.standing.to_json()}
        (folder / "recency.json").write_text(json.dumps(parts))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what save wrote."""
        parts = json.loads((folder / "recency.json").read_text())
        return cls(Calibration.from_json(parts["calibration"]), Standing.from_json(parts["standing"]))


def _share(frame: pd.DataFrame) -> Floats:
    """Return recency / (recency + gap), between 0 and 1; NaN with fewer than two orders."""
    recency, gap = floats(frame, "recency_days"), floats(frame, "order_gap_days")
    known = (orders(frame) >= 2) & (gap > 0) & (recency >= 0)
    return np.where(known, recency / np.where(known, recency + gap, 1.0), np.nan)
