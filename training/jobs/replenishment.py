"""Replenishment: learn the gaps before the cut, and see when everybody came back after it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.cadence import CATEGORY, bought_days, cadences, gaps_of, pair_starts
from features.decay import DAY
from features.events.lake import Lake
from features.excluded import Excluded
from models._pyfunc import predict
from models.replenishment import Replenishment
from nextbest.columns import CONTACT_ID
from nextbest.errors import NotReady
from training import plots
from training._nobody import rows_of_nobody
from training._numbers import whole
from training.base import Context, Evaluation
from training.metrics import expected_calibration_error
from training.split import TemporalSplit

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
HOLDOUT_DAYS = 60
HORIZON = 14
LEAST_PURCHASES = 2.0
FEATURES = ("category", "purchases", "log_gaps", "gap_days", "days_since")


@dataclass(frozen=True)
class ReplenishmentData:
    """Pairs as they stood at the cut, and the days until each bought again."""

    split: TemporalSplit
    days: pd.DataFrame
    """features.cadence.bought_days up to the cut."""
    pairs: pd.DataFrame
    """Contacts and categories bought by nature, twice at least: FEATURES and contact_id; index 0 … n-1."""
    until_bought: Floats
    """Days from the cut to the next purchase; infinite where none came by the end of the hold-out."""
    model: Replenishment

    @property
    def window(self) -> float:
        """Days of the hold-out."""
        return (self.split.end - self.split.cut).total_seconds() / DAY


class OwnGap:
    """The last purchase plus the contact's own mean gap; overdue: now."""

    kind: ClassVar[str] = "own_gap"

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return due_days."""
        return _after(frame, frame["gap_days"].to_numpy(np.float64))

    def save(self, folder: Path) -> None:
        """Write nothing: there is nothing to keep."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the rule."""
        del folder
        return cls()


class CategoryGap(OwnGap):
    """The last purchase plus the category's median gap; overdue: now."""

    kind: ClassVar[str] = "category_gap"

    def __init__(self, medians: Mapping[str, float] | None = None) -> None:
        self._medians = dict(medians or {})

    @classmethod
    def learn(cls, days: pd.DataFrame) -> "CategoryGap":
        """Take each category's median over all contacts' gaps."""
        gaps = pd.Series(gaps_of(days)).groupby(days[CATEGORY].astype(object)).median()
        return cls({str(name): float(gap) for name, gap in gaps.dropna().items()})

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return due_days."""
        medians = frame["category"].map(self._medians)
        return _after(frame, np.asarray(medians, dtype=np.float64))


class ReplenishmentJob:
    """The date of the next purchase, a category."""

    name: ClassVar[str] = "replenishment"
    metric: ClassVar[str] = "mae_days"
    higher_is_better: ClassVar[bool] = False
    description: ClassVar[str] = (
        "When a contact next buys in each category that is bought again by nature: median, 80 % interval and "
        "the probability within some days, from a hierarchy of gaps and what has passed since the last "
        "purchase. mae_days compares dates that lie beyond the hold-out as its end, so that who did not come "
        "back counts too. Knows nothing of quantities, prices or seasons."
    )
    options: ClassVar[Mapping[str, str]] = {
        "cut": "where the hold-out begins, YYYY-MM-DD (its last days)",
        "holdout_days": f"days of the hold-out ({HOLDOUT_DAYS})",
    }

    def prepare(self, context: Context) -> ReplenishmentData:
        """Read the purchase days; what is bought by nature is learned before the cut."""
        window = whole(context, "holdout_days", max(HOLDOUT_DAYS, context.settings.holdout_days))
        split = TemporalSplit.of(Lake(context.settings.lake).span(), context, window)
        every = Excluded.of(context.settings).without(bought_days(context.settings, split.end))
        every = every.reset_index(drop=True)
        cut = split.cut.timestamp()
        days = every[every["time"] <= cut].reset_index(drop=True)
        model = Replenishment.learn(days, cut)
        pairs, bought = _pairs(days, every[every["time"] > cut], cut)
        held = (pairs["purchases"] >= LEAST_PURCHASES) & pairs["category"].isin(model.categories["category"])
        if not held.any():
            raise NotReady("nobody had bought twice in a category by the cut; nextbest ingest more orders")
        return ReplenishmentData(split, days, pairs[held].reset_index(drop=True), bought[held], model)

    def fit(self, data: ReplenishmentData, context: Context) -> Replenishment:
        """Return what was learned to find the pairs."""
        del context
        return data.model

    def baselines(self, data: ReplenishmentData, context: Context) -> Mapping[str, Any]:
        """Return own mean gap and the category's median gap."""
        del context
        return {"own_gap": OwnGap(), "category_gap": CategoryGap.learn(data.days)}

    def evaluate(self, model: Any, data: ReplenishmentData) -> Evaluation:
        """Measure the date; the interval and P(bought within 14 days) where a model gives them.

        A unit is a contact: its categories are bought on the same trips.
        """
        scores = model.score(data.pairs)
        actual, window = data.until_bought, data.window
        due = np.nan_to_num(scores["due_days"].to_numpy(np.float64), nan=window)
        error = np.abs(np.minimum(due, window) - np.minimum(actual, window))
        bought = actual <= window
        metrics = {"mae_days": float(error.mean()), "mae_days_bought": float(error[bought].mean())}
        if "low_days" in scores:
            metrics |= _coverage(scores, actual, window)
            chance, label = scores[f"probability_{HORIZON}d"].to_numpy(np.float64), actual <= HORIZON
            metrics[f"ece_{HORIZON}d"] = expected_calibration_error(label, chance)
        statistic, units = _by_contact(data.pairs[CONTACT_ID], error)
        return Evaluation(metrics, units, statistic)

    def figures(self, model: Replenishment, data: ReplenishmentData) -> Mapping[str, Any]:
        """Draw the calibration of P(bought within 14 days)."""
        chance = model.score(data.pairs)[f"probability_{HORIZON}d"].to_numpy(np.float64)
        return {"calibration.png": plots.calibration((data.until_bought <= HORIZON).astype(float), chance)}

    def tables(self, model: Replenishment, data: ReplenishmentData) -> Mapping[str, pd.DataFrame]:
        """Return the most regular categories: their habits, and how the hold-out went."""
        scores = model.score(data.pairs)
        table = pd.DataFrame(
            {
                "category": data.pairs["category"],
                "predicted": scores[f"probability_{HORIZON}d"],
                "observed": (data.until_bought <= HORIZON).astype(np.float64),
            }
        )
        rates = table.groupby("category").agg(
            pairs=("observed", "size"), predicted=("predicted", "mean"), observed=("observed", "mean")
        )
        known = model.categories.assign(usual_days=np.exp(model.categories["mean"]))
        columns = ["category", "buyers", "repeat_rate", "share_of_trips", "regularity", "usual_days"]
        joined = known[columns].merge(rates.reset_index(), on="category")
        return {"categories": joined.sort_values("regularity", ignore_index=True).head(30)}

    def example(self, model: Replenishment, data: ReplenishmentData) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return pairs that are nobody's, and their dates."""
        numbers = rows_of_nobody(data.pairs, FEATURES[1:], 5)
        frame = data.pairs[["category"]].head(5).join(numbers)
        return frame, predict(model, frame)

    def facts(self, data: ReplenishmentData) -> Mapping[str, Any]:
        """Return rows and dates."""
        return {
            **data.split.facts(),
            "categories": int(data.days[CATEGORY].nunique()),
            "natural_categories": len(data.model.categories),
            "pairs": len(data.pairs),
            "contacts": int(data.pairs[CONTACT_ID].nunique()),
            "bought_in_holdout": float((data.until_bought <= data.window).mean()),
            "simulated": False,
        }


def _pairs(days: pd.DataFrame, later: pd.DataFrame, cut: float) -> tuple[pd.DataFrame, Floats]:
    """Return every pair at the cut and the days until it bought again; infinite where it did not."""
    pairs = cadences(days)
    for name in (CONTACT_ID, CATEGORY):
        pairs[name] = pairs[name].astype(object)
    pairs["days_since"] = (cut - pairs["last"]) / DAY
    first = later.iloc[pair_starts(later)]
    times = pd.Series(
        first["time"].to_numpy(),
        pd.MultiIndex.from_arrays([first[CONTACT_ID].astype(object), first[CATEGORY].astype(object)]),
    )
    found = times.reindex(pd.MultiIndex.from_frame(pairs[[CONTACT_ID, CATEGORY]])).to_numpy(np.float64)
    return pairs, np.nan_to_num((found - cut) / DAY, nan=np.inf)


def _after(frame: pd.DataFrame, gap: Floats) -> pd.DataFrame:
    due = np.maximum(gap - frame["days_since"].to_numpy(np.float64), 0.0)
    return pd.DataFrame({"due_days": due}, index=frame.index)


def _coverage(scores: pd.DataFrame, actual: Floats, window: float) -> dict[str, float]:
    """Return the share of purchases inside the interval, where it ends within the hold-out, and before it."""
    low, high = (scores[name].to_numpy(np.float64) for name in ("low_days", "high_days"))
    told, begun = high <= window, low <= window
    inside = (actual >= low) & (actual <= high)
    return {
        "coverage_80": float(inside[told].mean()) if told.any() else float("nan"),
        "before_low": float((actual < low)[begun].mean()) if begun.any() else float("nan"),
    }


def _by_contact(contacts: pd.Series, error: Floats) -> tuple[Callable[[Rows], float], int]:
    """Return the mean error as a statistic of contacts."""
    code = pd.factorize(contacts)[0]
    total, count = np.bincount(code, error), np.bincount(code).astype(np.float64)
    return lambda rows: float(total[rows].sum() / count[rows].sum()), len(total)
