"""The rule score: points a contact's events have earned, and the thresholds they have crossed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from models._frame import matrix
from nextbest.columns import HALF_LIVES, POINTS
from nextbest.errors import BadInput

POINT_COLUMNS = (*(f"{POINTS}_{half_life}d" for half_life in HALF_LIVES), f"{POINTS}_total")
NO_STAGE = "none"


class Rules:
    """Adds up the points, each already decayed by its rule's half-life to the moment of asking."""

    kind: ClassVar[str] = "rules"

    def __init__(self, thresholds: Mapping[str, float] | None = None) -> None:
        """Take thresholds, say {"engaged": 20.0, "sales_ready": 50.0}; BadInput without a finite number."""
        given = thresholds or {}
        wrong = sorted(name for name, at in given.items() if not np.isfinite(at) or "," in name)
        if wrong:
            raise BadInput(f"threshold {wrong[0]!r}: needs a finite number, and a name without a comma")
        self.thresholds = dict(
            sorted(((n, float(at)) for n, at in given.items()), key=lambda pair: (pair[1], pair[0]))
        )

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return rule_score, stage (the highest threshold reached, or "none"), thresholds and source.

        `thresholds` holds all reached, lowest first, joined by commas. Points that decay and points that do
        not both count: a rule adds to one of the columns only. A contact without any points has 0.
        """
        points = np.nan_to_num(matrix(frame, POINT_COLUMNS)).sum(axis=1)
        reached = [[name for name, at in self.thresholds.items() if value >= at] for value in points]
        out = pd.DataFrame({"rule_score": points}, index=frame.index)
        out["stage"] = [names[-1] if names else NO_STAGE for names in reached]
        out["thresholds"] = [",".join(names) for names in reached]
        out["source"] = self.kind
        return out

    predict = score

    def save(self, folder: Path) -> None:
        """Write thresholds.json."""
        (folder / "thresholds.json").write_text(json.dumps(self.thresholds, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what save wrote."""
        return cls(json.loads((folder / "thresholds.json").read_text()))
