"""What boosted trees add to BG/NBD and Gamma-Gamma: a factor on the orders, or the spend, they expect.

The trees start from the logarithm of the parametric expectation (LightGBM's init_score with a log link), so
with nothing to add they leave it as it is, and what they add holds for any horizon, since the parametric part
carries the horizon. Tweedie loss: many contacts with nothing, and a long tail (Jørgensen 1987).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np
import pandas as pd

from models._frame import floats, matrix
from models._paces import PACES, paces
from models.base import Floats
from nextbest.columns import CONTACT_FEATURES

FROM_PATTERN = ("p_alive", "expected_orders", "order_value")
FEATURES = (*CONTACT_FEATURES, *FROM_PATTERN, *PACES)
MOST = 20.0
"""No factor is above this or below its inverse."""
TRUSTS = (0.0, 0.25, 0.5, 0.75, 1.0)
LEAST = 1e-3
"""Expectations smaller than this count as it: their logarithm is where the trees start."""


@dataclass(frozen=True)
class HeadConfig:
    """Settings of the trees."""

    power: float = 1.5
    """Of the Tweedie loss, between 1 (Poisson) and 2 (gamma)."""
    leaves: int = 7
    rounds: int = 200
    learning_rate: float = 0.03
    rows_in_leaf: int = 200
    features_a_tree: float = 0.6
    rows_a_tree: float = 0.7
    l2: float = 10.0
    threads: int = 1
    most_rows: int = 300_000


class Head:
    """A factor for each contact."""

    def __init__(self, booster: lgb.Booster, level: float, trust: float = 1.0) -> None:
        self.booster, self.level, self.trust = booster, level, trust

    def tempered(self, trust: float) -> "Head":
        """Return the head with its factors drawn towards 1, as powers of them."""
        return Head(self.booster, self.level, trust)

    @classmethod
    def learn(cls, values: Floats, expected: Floats, actual: Floats, config: HeadConfig, seed: int) -> "Head":
        """Learn from FEATURES, the parametric expectation and what came; shapes (rows, FEATURES) and (rows,).

        Refunds may make what came negative: it counts as nothing. `level` makes the sums agree, which the
        Tweedie loss does not by itself.
        """
        actual, expected = np.fmax(actual, 0.0), np.fmax(expected, LEAST)
        if len(values) > config.most_rows:
            rows = np.random.default_rng(seed).choice(len(values), config.most_rows, replace=False)
            values, expected, actual = values[rows], expected[rows], actual[rows]
        data = lgb.Dataset(values, actual, init_score=np.log(expected), feature_name=list(FEATURES))
        booster = lgb.train(_settings(config, len(actual), seed), data, config.rounds)
        one = cls(booster, 1.0)
        total = float((expected * one.factor(values)).sum())
        return cls(booster, float(actual.sum()) / total if total > 0 and actual.sum() > 0 else 1.0)

    def factor(self, values: Floats) -> Floats:
        """Return what the parametric expectation is multiplied by, shape (rows,)."""
        raw = np.asarray(self.booster.predict(values, raw_score=True, num_threads=1), dtype=np.float64)
        return np.clip(self.level * np.exp(raw), 1 / MOST, MOST) ** self.trust


def head_features(frame: pd.DataFrame, pattern: pd.DataFrame) -> Floats:
    """Return the trees' input, shape (rows, FEATURES); pattern: as models.value.Value.pattern gives it."""
    a_day = (floats(pattern, "orders_a_day"), floats(pattern, "spend_a_day"))
    return np.hstack([matrix(frame, CONTACT_FEATURES), matrix(pattern, FROM_PATTERN), paces(frame, *a_day)])


def trusted(actual: Sequence[Floats], at: Sequence[Callable[[float], Floats]]) -> float:
    """Return how far the trees are to be trusted: the least absolute error over several windows together.

    Arrays may hold NaN where nothing is expected. Without a window: not at all.
    """
    if not actual:
        return 0.0
    errors = [
        sum(
            float(np.nansum(np.abs(foreseen(trust) - came)))
            for came, foreseen in zip(actual, at, strict=True)
        )
        for trust in TRUSTS
    ]
    return TRUSTS[int(np.argmin(errors))]


def _settings(config: HeadConfig, rows: int, seed: int) -> dict[str, object]:
    return {
        "objective": "tweedie",
        "tweedie_variance_power": config.power,
        "num_leaves": config.leaves,
        "learning_rate": config.learning_rate,
        "min_data_in_leaf": max(5, min(config.rows_in_leaf, rows // 50)),
        "feature_fraction": config.features_a_tree,
        "bagging_fraction": config.rows_a_tree,
        "bagging_freq": 1,
        "lambda_l2": config.l2,
        "boost_from_average": False,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": config.threads,
        "verbose": -1,
    }
