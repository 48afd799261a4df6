"""What every churn model answers: one frame, so that one can stand behind another."""

import numpy as np
import pandas as pd

from models._frame import floats
from models._standing import Standing
from models.base import Floats

NOT_ENOUGH_DATA = "not_enough_data"
HORIZON = "horizon_days"
"""A frame may carry this column: the days each contact is asked about, in place of the model's own."""


def asked_days(frame: pd.DataFrame, own: Floats) -> Floats:
    """Return the days asked about; the model's own where the frame does not say."""
    if HORIZON not in frame.columns:
        return own
    asked = floats(frame, HORIZON)
    return np.where(asked > 0, asked, own)


def leaving(
    index: "pd.Index[int]",
    probability: Floats,
    standing: Standing,
    source: str,
    ends: tuple[Floats, Floats] | None = None,
) -> pd.DataFrame:
    """Return probability, low, high, percentile (0-100), band and source.

    Where the probability is NaN: "unknown" and "not_enough_data". low and high are NaN without `ends`.
    """
    known = np.isfinite(probability)
    out = pd.DataFrame({"probability": probability}, index=index)
    out["low"], out["high"] = ends if ends is not None else (np.nan, np.nan)
    out["percentile"] = standing.percentile(probability)
    out["band"] = standing.band(probability)
    out["source"] = np.where(known, source, NOT_ENOUGH_DATA)
    return out
