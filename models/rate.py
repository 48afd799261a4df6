"""Orders to come at a contact's own past rate: what the value model has to beat."""

import json
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from models._frame import floats, orders
from models.value import History

LEAST_DAYS = 7.0
"""A contact seen for less counts as seen for this long: one order yesterday is not one a day."""


class Rate:
    """orders / days since the first order × horizon, and the same with spend."""

    kind: ClassVar[str] = "rate"

    def __init__(self, horizon_days: float) -> None:
        self.horizon_days = horizon_days

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return expected_orders, expected_spend and source; NaN without orders."""
        count = orders(frame)
        share = self.horizon_days / np.maximum(History.of(frame).seen, LEAST_DAYS)
        known = count > 0
        out = pd.DataFrame({"expected_orders": np.where(known, count * share, np.nan)}, index=frame.index)
        out["expected_spend"] = np.where(known, floats(frame, "spend_total") * share, np.nan)
        out["source"] = np.where(known, self.kind, "not_enough_data")
        return out

    predict = score

    def save(self, folder: Path) -> None:
        """Write rate.json."""
        (folder / "rate.json").write_text(json.dumps({"horizon_days": self.horizon_days}))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what save wrote."""
        return cls(**json.loads((folder / "rate.json").read_text()))
