"""`lifetimes` 0.11.3 (Davidson-Pilon): BG/NBD and Gamma-Gamma as most people fit them."""

import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd

from models.base import Floats


class LifetimesValue:
    """Both models behind three calls; times in any one unit."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from lifetimes import BetaGeoFitter, GammaGammaFitter
        self._often, self._worth = BetaGeoFitter(penalizer_coef=0.0), GammaGammaFitter(penalizer_coef=0.0)

    @classmethod
    def found(cls) -> "LifetimesValue | None":
        """Return the peer; None where the package is not installed."""
        return cls() if find_spec("lifetimes") else None

    def fit(self, x: Floats, t_x: Floats, seen: Floats) -> None:
        """Fit BG/NBD."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._often.fit(x, t_x, seen)

    def parameters(self) -> dict[str, float]:
        """Return r, alpha, a, b."""
        return {name: float(value) for name, value in self._often.params_.items()}

    def orders(self, x: Floats, t_x: Floats, seen: Floats, horizon: float) -> Floats:
        """Return the expected orders within the horizon."""
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            series = (pd.Series(x), pd.Series(t_x), pd.Series(seen))
            found: Any = self._often.conditional_expected_number_of_purchases_up_to_time(horizon, *series)
        return np.asarray(found, dtype=np.float64)

    def order_value(self, count: Floats, mean: Floats) -> Floats:
        """Fit Gamma-Gamma on customers who paid, and return what everyone's order is worth."""
        paid = (count > 0) & (mean > 0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._worth.fit(count[paid], mean[paid])
            found: Any = self._worth.conditional_expected_average_profit(pd.Series(count), pd.Series(mean))
        return np.asarray(found, dtype=np.float64)
