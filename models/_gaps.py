"""What the gaps between a contact's purchases in a category tell of the category: how regular, how long.

Rows are days on which a contact bought in a category, sorted by contact, category and day, as
features.cadence.bought_days gives them; everything here is arrays parallel to them or one number a category.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.base import Floats

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Days:
    """Purchase days as numbers: contact, category and day, sorted in that order."""

    contact: Ints
    category: Ints
    day: Ints
    names: npt.NDArray[np.object_]
    """Category names by number."""

    @classmethod
    def of(cls, frame: pd.DataFrame) -> "Days":
        """Read contact_id, category (categories) and day."""
        contact, category = frame["contact_id"].cat, frame["category"].cat
        return cls(
            contact.codes.to_numpy().astype(np.int64),
            category.codes.to_numpy().astype(np.int64),
            frame["day"].to_numpy(dtype=np.int64),
            category.categories.to_numpy(dtype=object),
        )

    def __len__(self) -> int:
        return len(self.day)

    @property
    def starts(self) -> Ints:
        """The row at which each (contact, category) begins."""
        changed = (np.diff(self.contact) != 0) | (np.diff(self.category) != 0)
        return np.flatnonzero(np.r_[len(self) > 0, changed]).astype(np.int64)

    def trips(self) -> tuple[Ints, Ints]:
        """Return the number of each row's day among the contact's days with any purchase, and how many
        such days the row's contact has."""
        key = self.contact * (int(self.day.max(initial=0)) + 1) + self.day
        distinct, place = np.unique(key, return_inverse=True)
        owner = distinct // (int(self.day.max(initial=0)) + 1)
        first = np.searchsorted(owner, np.arange(int(owner.max(initial=-1)) + 2))
        return place - first[self.contact], np.diff(first)[self.contact]


def regularity(days: Days) -> pd.DataFrame:
    """Return a row a category: buyers, repeat_buyers, gaps, share_of_trips, regularity and its high.

    regularity: the variance of a pair's gaps, counted in the contact's shopping trips, over what it would be
    if the purchases between the first and the last lay on any of the trips between them at random; 1 for no
    regularity, 0 for clockwork. k purchases on m trips at random leave k + 1 exchangeable spacings with
    variance k (m + 1)(m - k) / ((k + 1)^2 (k + 2)), two of which correlate by -1 / k (the discrete analogue
    of uniform spacings, Pyke 1965). So neither what is bought on every trip nor what is bought in one season
    counts as regular, and nor do few purchases because a history is short. `high`: upper end of its 95 %
    interval over pairs.
    """
    starts = days.starts
    trip, trips = days.trips()
    stops = np.r_[starts[1:], len(days)]
    n = (stops - starts).astype(np.float64)
    m = (trip[stops - 1] - trip[starts] - 1).astype(np.float64) if len(days) else n
    k, category, size = n - 2, days.category[starts], len(days.names)
    told = (k >= 1) & (m > k)
    k, m = np.where(told, k, 1.0), np.where(told, m, 2.0)
    by_chance = k * (m + 1) * (m - k) / ((k + 1) ** 2 * (k + 2)) * (1 + 1 / k)
    weight = np.where(told, k * ((k + 1) / (m + 1)) ** 2, 0.0)  # in units of the mean gap
    seen = weight * np.nan_to_num(_variances(trip.astype(np.float64), starts, n))
    due = weight * by_chance
    total, expected = np.bincount(category, seen, size), np.bincount(category, due, size)
    ratio = np.divide(total, expected, out=np.full(size, np.nan), where=expected > 0)
    spread = np.sqrt(np.bincount(category, (seen - np.nan_to_num(ratio)[category] * due) ** 2, size))
    error = np.divide(spread, expected, out=np.full(size, np.nan), where=expected > 0)
    shopped = np.bincount(category, trips[starts], size) if len(days) else np.ones(size)
    return pd.DataFrame(
        {
            "category": days.names,
            "buyers": np.bincount(category, minlength=size),
            "repeat_buyers": np.bincount(category, n >= 2, size),
            "gaps": np.bincount(category, n - 1, size),
            "share_of_trips": np.bincount(category, n, size) / np.maximum(shopped, 1),
            "regularity": ratio,
            "regularity_high": ratio + 1.96 * error,
        }
    )


def _variances(values: Floats, starts: Ints, n: Floats) -> Floats:
    """Return the variance of each pair's gaps between `values`; NaN below two gaps."""
    if not len(starts):
        return np.empty(0)
    gaps = np.diff(values, prepend=0.0)
    gaps[starts] = 0.0
    total, squares = np.add.reduceat(gaps, starts), np.add.reduceat(gaps**2, starts)
    count = n - 1
    top = squares - total**2 / np.maximum(count, 1)
    found: Floats = np.divide(top, count - 1, out=np.full(len(n), np.nan), where=count > 1)
    return found


@dataclass(frozen=True)
class Normal:
    """ln(gap in days) of a category: contacts' means vary by `between`, one contact's gaps by `within`."""

    mean: Floats
    between: Floats
    """Variance of contacts' means, one a category."""
    within: Floats
    """Variance of a contact's gaps about its mean."""


def log_normal(days: Days, prior_gaps: float = 30.0) -> Normal:
    """Estimate each category's hierarchy of ln(gap) by its moments (one-way analysis of variance).

    Every estimate is drawn to that of all categories together as by `prior_gaps` gaps more.
    """
    starts = days.starts
    n = np.diff(np.r_[starts, len(days)]) - 1.0
    logs = log_gaps(days)
    held = np.nan_to_num(logs)
    total, squares = np.add.reduceat(held, starts), np.add.reduceat(held**2, starts)
    category, size = days.category[starts], len(days.names)
    own = total / np.maximum(n, 1)
    inside = squares - n * own**2

    def each(values: Floats) -> Floats:
        return np.bincount(category, values, size).astype(np.float64)

    gaps, freedom = each(n), each(np.maximum(n - 1, 0))
    overall = inside.sum() / max(float(np.maximum(n - 1, 0).sum()), 1.0)
    within = (each(inside) + prior_gaps * overall) / (freedom + prior_gaps)
    everywhere = total.sum() / max(float(n.sum()), 1.0)
    mean = (each(total) + prior_gaps * everywhere) / (gaps + prior_gaps)
    above = n * (own - mean[category]) ** 2 - (n > 0) * within[category]
    scale = each(n) - np.divide(each(n**2), gaps, out=np.zeros(size), where=gaps > 0)
    typical = max(float(above.sum()), 0.0) / max(float(scale.sum()), 1.0)
    between = np.maximum(each(above) + prior_gaps * typical, 0.0) / (scale + prior_gaps)
    return Normal(mean, np.maximum(between, 1e-4), np.maximum(within, 1e-4))


def log_gaps(days: Days) -> Floats:
    """Return ln(days since the pair's purchase before) of each row; NaN at the pair's first."""
    gaps: Floats = np.diff(days.day, prepend=0).astype(np.float64)
    gaps[days.starts] = np.nan
    return np.asarray(np.log(gaps), dtype=np.float64)
