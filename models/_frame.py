"""Reading float columns out of a frame that may lack them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from models.base import Floats


def floats(frame: pd.DataFrame, name: str) -> Floats:
    """Return a column as float64, shape (rows,); NaN throughout where the frame has no such column."""
    if name not in frame.columns:
        return np.full(len(frame), np.nan)
    return pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def matrix(frame: pd.DataFrame, names: Sequence[str]) -> Floats:
    """Return columns side by side, shape (rows, names); a missing column is NaN."""
    out = np.empty((len(frame), len(names)))
    for position, name in enumerate(names):
        out[:, position] = floats(frame, name)
    return out


def orders(frame: pd.DataFrame) -> Floats:
    """Return how many orders each contact has placed; 0 where unknown."""
    return np.nan_to_num(floats(frame, "orders_total"))
