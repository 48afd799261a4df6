"""How far the held-out days can be told at all: trees that learn from them, judged on the fold left out.

Quantile regression at one level for all is the estimate of least absolute error among those with a given
total: the level sets the total. So the rows show what absolute error costs what error of the total.
"""

from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd

from models.base import Floats
from nextbest.columns import CONTACT_FEATURES

LEVELS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8)
FOLDS = 5
SETTINGS = {
    "num_leaves": 15, "learning_rate": 0.05, "min_data_in_leaf": 50, "feature_fraction": 0.6,
    "num_threads": 2, "verbose": -1, "deterministic": True, "force_row_wise": True,
}  # fmt: skip
ROUNDS = 150


def frontier(frame: pd.DataFrame, came: Floats, seed: int) -> dict[str, dict[str, Any]]:
    """Return absolute error and error of the total for the mean and for each level."""
    values = frame[list(CONTACT_FEATURES)].to_numpy(np.float64)
    objectives = {"mean": {"objective": "tweedie", "tweedie_variance_power": 1.5}}
    objectives |= {f"quantile {level}": {"objective": "quantile", "alpha": level} for level in LEVELS}
    fold = np.random.default_rng(seed).permutation(len(came)) % FOLDS
    came = np.fmax(came, 0.0)
    found = {}
    for name, objective in objectives.items():
        told = np.zeros(len(came))
        for left_out in range(FOLDS):
            rest = fold != left_out
            data = lgb.Dataset(values[rest], came[rest])
            booster = lgb.train({**SETTINGS, **objective, "seed": seed}, data, ROUNDS)
            told[~rest] = np.fmax(np.asarray(booster.predict(values[~rest])), 0.0)
        error, total = float(np.abs(told - came).mean()), float(told.sum() / came.sum() - 1)
        found[name] = {"mae": error, "total_error": total}
    return found
