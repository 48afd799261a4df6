"""What every churn model answers: one frame, so that one can stand behind another."""

import numpy as np
import pandas as pd

from models._standing import Standing
from models.base import Floats

NOT_ENOUGH_DATA = "not_enough_data"


def leaving(index: "pd.Index[int]", probability: Floats, standing: Standing, source: str) -> pd.DataFrame:
    """Return probability, percentile (0-100), band and source; where NaN, "unknown" and "not_enough_data"."""
    known = np.isfinite(probability)
    out = pd.DataFrame({"probability": probability}, index=index)
    out["percentile"] = standing.percentile(probability)
    out["band"] = standing.band(probability)
    out["source"] = np.where(known, source, NOT_ENOUGH_DATA)
    return out
