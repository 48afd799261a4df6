"""When a contact buys again in a category it buys by nature: a date, an interval, P(bought within d days).

ln(gap) is normal about the contact's own mean, and those means are normal about the category's: the own mean
is drawn to the category's by as much as the contact's few gaps leave open. How far the next gap then falls
from what was expected of it is learned without a law, as one curve for all categories: the product-limit
estimate (Kaplan & Meier 1958) over the gaps that were open at past moments, each expected from those before
it, entering as old as it was then, censored if it is open still. So giving up is in the curve, and a pair
counts as often as it is asked about. What has passed since the last purchase without another conditions
everything: P(gap <= passed + d | gap > passed).

Which categories these are is learned: many buyers come back, and the gaps are surely more regular than those
of somebody who takes it on any trip by chance (models._gaps.regularity).
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm

from models._frame import floats
from models._gaps import Days, log_gaps, log_normal, regularity
from models.base import Floats
from nextbest.errors import NotReady

Ints = npt.NDArray[np.int64]
HORIZONS = (7, 14, 30, 60, 90)
"""Days d of probability_{d}d."""
GRID = np.round(np.arange(-5.0, 5.01, 0.05), 2)
"""Where the curve is kept: standard deviations from the expected ln(gap)."""
DAY = 86_400.0
EVERY_DAYS, MOMENTS = 7.0, 26
"""Past moments at which the gaps then open are looked at, to learn how they went on."""
STRATA = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Own gaps from which another curve holds: who comes back often is told apart by coming back often."""
LEAST_ENDED = 200
"""Gaps that must have ended in a stratum for a curve of its own."""
LEAST_GAPS = 200
"""Gaps all natural categories must have together for the curve."""


@dataclass(frozen=True)
class ReplenishmentConfig:
    """What makes a category one that is bought again by nature."""

    least_gaps: int = 30
    """Gaps seen."""
    repeat_from: float = 0.25
    """Share of its buyers who bought it again."""
    regular_below: float = 1.0
    """Upper end of the 95 % interval of `regularity`: 1 is what chance gives."""
    trips_below: float = 0.5
    """Share of its buyers' trips on which it was bought: beyond, it says no more than the next trip does."""


class Replenishment:
    """The next purchase of each (contact, category)."""

    kind: ClassVar[str] = "replenishment"

    def __init__(self, categories: pd.DataFrame, log_survival: Floats, config: ReplenishmentConfig) -> None:
        """Take a row a natural category (category, mean, between, within) and ln P(z > GRID).

        log_survival: shape (STRATA, GRID).
        """
        self.categories, self.log_survival, self.config = categories, log_survival, config
        self._rows = {str(name): row for row, name in enumerate(categories["category"])}
        self._of = {n: categories[n].to_numpy(np.float64) for n in ("mean", "between", "within")}

    @classmethod
    def learn(cls, frame: pd.DataFrame, until: float, config: ReplenishmentConfig | None = None) -> Self:
        """Learn from features.cadence.bought_days up to `until` (epoch seconds).

        Raises NotReady where no category is bought again by nature.
        """
        config = config or ReplenishmentConfig()
        days = Days.of(frame)
        table = natural(days, config)
        chosen = np.flatnonzero(table["natural"])
        if not len(chosen) or table["gaps"].to_numpy()[chosen].sum() < LEAST_GAPS:
            raise NotReady(
                "no category is bought again by nature, or too seldom to learn from; items need a category "
                "(nextbest ingest items) and orders a longer history"
            )
        law = log_normal(days)
        table = table.assign(mean=law.mean, between=law.between, within=law.within)
        kept = table.iloc[chosen].drop(columns="natural").sort_values("category", ignore_index=True)
        model = cls(kept, np.zeros((len(STRATA), len(GRID))), config)
        spells = _spells(model, days, until)
        own = [spells.of(n) for n in range(len(STRATA))]
        model.log_survival = np.array(
            [_curve(part if part.ended.sum() >= LEAST_ENDED else spells) for part in own]
        )
        return model

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return due_days, low_days, high_days from now, usual_days, probability_{d}d and source.

        In: category, purchases, log_gaps (features.cadence.cadences) and days_since the last purchase. due is
        the median, low and high hold 80 %; all are 0 or more. NaN, source "not_enough_data", for a category
        not bought by nature or never bought.
        """
        since, mean, spread, known = self._expected(frame)
        stratum = _stratum(np.nan_to_num(floats(frame, "purchases")) - 1)
        with np.errstate(divide="ignore"):
            passed = self._log_survival_at((np.log(since) - mean) / spread, stratum)
        out = pd.DataFrame(index=frame.index)
        for name, share in (("due", 0.5), ("low", 0.9), ("high", 0.1)):
            z = self._z_at(passed + np.log(share), stratum)
            out[f"{name}_days"] = np.where(known, np.maximum(np.exp(mean + spread * z) - since, 0.0), np.nan)
        out["usual_days"] = np.where(known, np.exp(mean), np.nan)
        for days in HORIZONS:
            later = self._log_survival_at((np.log(since + days) - mean) / spread, stratum)
            out[f"probability_{days}d"] = np.where(known, -np.expm1(later - passed), np.nan)
        out["source"] = np.where(known, self.kind, "not_enough_data")
        return out

    predict = score

    def _expected(self, frame: pd.DataFrame) -> tuple[Floats, Floats, Floats, npt.NDArray[np.bool_]]:
        """Return days since the last purchase, mean and deviation of ln(gap), and who can be answered."""
        names = frame["category"] if "category" in frame else pd.Series("", index=frame.index)
        row = np.array([self._rows.get(str(name), -1) for name in names], dtype=np.int64)
        purchases, since = floats(frame, "purchases"), floats(frame, "days_since")
        known = (row >= 0) & (purchases >= 1) & np.isfinite(since)
        row = np.where(known, row, 0)
        gaps = np.where(known, purchases - 1, 0.0)
        mean, spread = self.posterior(row, gaps, np.nan_to_num(floats(frame, "log_gaps")))
        return np.where(known, np.maximum(since, 0.0), 1.0), mean, spread, known

    def row(self, category: str) -> int:
        """Return the category's row in `categories`, -1 where it is not bought by nature."""
        return self._rows.get(category, -1)

    def posterior(self, row: npt.NDArray[np.int64], gaps: Floats, total: Floats) -> tuple[Floats, Floats]:
        """Return mean and deviation of the next ln(gap) after `gaps` gaps whose logarithms sum to `total`."""
        prior, between, within = (self._of[name][row] for name in ("mean", "between", "within"))
        precision = 1.0 / between + gaps / within
        mean = (prior / between + total / within) / precision
        return mean, np.sqrt(within + 1.0 / precision)

    def _log_survival_at(self, z: Floats, stratum: Ints) -> Floats:
        curves = [np.interp(z, GRID, curve) for curve in self.log_survival]
        return np.choose(stratum, curves) if len(z) else z

    def _z_at(self, log_survival: Floats, stratum: Ints) -> Floats:
        curves = [np.interp(-log_survival, -curve, GRID) for curve in self.log_survival]
        return np.choose(stratum, curves) if len(log_survival) else log_survival

    def save(self, folder: Path) -> None:
        """Write replenishment.json: configuration, categories and curve."""
        parts = {
            "config": asdict(self.config),
            "log_survival": self.log_survival.tolist(),
            "categories": self.categories.to_dict("list"),
        }
        (folder / "replenishment.json").write_text(json.dumps(parts), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        parts: dict[str, Any] = json.loads((folder / "replenishment.json").read_text(encoding="utf-8"))
        config = ReplenishmentConfig(**parts["config"])
        return cls(pd.DataFrame(parts["categories"]), np.array(parts["log_survival"]), config)


def natural(days: Days, config: ReplenishmentConfig) -> pd.DataFrame:
    """Return models._gaps.regularity with repeat_rate, and `natural`: whether it is bought by nature."""
    table = regularity(days)
    table["repeat_rate"] = table["repeat_buyers"] / table["buyers"].clip(lower=1)
    table["natural"] = (
        (table["gaps"] >= config.least_gaps)
        & (table["repeat_rate"] >= config.repeat_from)
        & (table["share_of_trips"] <= config.trips_below)
        & (table["regularity_high"] < config.regular_below)
    )
    return table


@dataclass(frozen=True)
class _Spells:
    """Gaps as they stood at past moments, in deviations from what was expected of them."""

    entered: Floats
    """How far the gap had come by the moment."""
    left: Floats
    """Where it ended, or stands."""
    ended: npt.NDArray[np.bool_]
    stratum: Ints

    def of(self, stratum: int) -> "_Spells":
        """Return those of one stratum."""
        held = self.stratum == stratum
        return _Spells(self.entered[held], self.left[held], self.ended[held], self.stratum[held])


def _spells(model: Replenishment, days: Days, until: float) -> _Spells:
    """Look at every open gap of the natural categories at the last MOMENTS, EVERY_DAYS apart.

    So each pair counts as often as it is asked about, not as often as it buys.
    """
    starts, logs = days.starts, np.nan_to_num(log_gaps(days))
    length = np.diff(np.r_[starts, len(days)])
    nth = np.arange(len(days)) - np.repeat(starts, length)
    total = np.cumsum(logs)
    total -= np.repeat(total[starts], length)  # the sum of ln(gap) up to each row of its pair
    rows = np.array([model.row(str(name)) for name in days.names], dtype=np.int64)[days.category]
    mean, spread = model.posterior(np.maximum(rows, 0), nth.astype(np.float64), total)
    open_ = np.zeros(len(days), dtype=np.bool_)
    open_[starts + length - 1] = True
    now = until / DAY
    stop = np.where(open_, now, np.roll(days.day, -1))
    parts = []
    for at in now - EVERY_DAYS * np.arange(1.0, MOMENTS + 1):
        held = np.flatnonzero((rows >= 0) & (days.day <= at) & (at < stop))
        with np.errstate(divide="ignore"):
            entered = (np.log(at - days.day[held]) - mean[held]) / spread[held]
        left = (np.log(stop[held] - days.day[held]) - mean[held]) / spread[held]
        parts.append((entered, left, ~open_[held], _stratum(nth[held].astype(np.float64))))
    return _Spells(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _stratum(gaps: Floats) -> Ints:
    return np.maximum(np.searchsorted(STRATA, gaps, side="right") - 1, 0)


def _curve(spells: _Spells) -> Floats:
    """Return ln P(z > GRID) by the product-limit estimate with delayed entry; a normal's where it ends."""
    order = np.argsort(spells.left, kind="stable")
    z, ended = spells.left[order], spells.ended[order]
    entered = np.searchsorted(np.sort(spells.entered), z, side="left")
    at_risk = entered - np.searchsorted(z, z, side="left")
    hazard = np.where(ended & (at_risk > 1), np.log1p(-1.0 / np.maximum(at_risk, 2)), 0.0)
    logs = np.r_[0.0, np.cumsum(hazard)]
    survival = logs[np.searchsorted(z, GRID, side="right")]
    last = float(np.quantile(z[ended], 0.995)) if ended.any() else float(GRID[0])
    first = min(int(np.searchsorted(GRID, last)), len(GRID) - 1)
    survival[first:] = survival[first] + norm.logsf(GRID[first:]) - norm.logsf(GRID[first])
    return np.minimum.accumulate(survival - 1e-9 * np.arange(len(GRID)))  # never flat: it is read backwards
