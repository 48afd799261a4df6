"""Catalogues and shoppers in a line each, for the tests of the recommenders."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from models.catalogue import Catalogue
from nextbest.columns import HALF_LIVES, ITEM_STATISTICS

NOW = 1_700_000_000.0
DAY = 86_400.0


@pytest.fixture(scope="session")
def make_catalogue():
    """Make a catalogue of {item_id: {column: value}}; the rest is a plain item that sells a little."""

    def make(items, now=NOW):
        plain = {
            "title": None,
            "category": "a/b",
            "brand": None,
            "price": 1.0,
            "in_stock": True,
            "hidden": False,
        }
        plain |= {"repeatable": np.nan, "image_url": None, "url": None}
        plain |= dict.fromkeys(ITEM_STATISTICS, 1.0) | {"cadence_days": np.nan, "repurchase_rate": np.nan}
        plain |= {"buyers": 0.0, "repeat_buyers": 0.0}
        rows = [{"item_id": item, **plain, **told} for item, told in items.items()]
        return Catalogue.from_frame(pd.DataFrame(rows, columns=["item_id", *plain]), now)

    return make


@pytest.fixture(scope="session")
def make_shopper():
    """Make a shopper of {item_id: days ago, the latest first}; categories as (name, weight).

    steps: (event, category, days ago), the latest first.
    """

    def make(bought=None, viewed=(), categories=(), contact_id="c", features=None, now=NOW, steps=()):
        bought = {item: np.sort(np.array(ago, dtype=float)) for item, ago in (bought or {}).items()}

        def decayed(days):
            return {item: float((2.0 ** -(ago / days)).sum()) for item, ago in bought.items()}

        weights = decayed(90)
        own = sorted(bought, key=lambda item: (-weights[item], item))
        recent = sorted(bought, key=lambda item: (bought[item][0], item))
        return SimpleNamespace(
            contact_id=contact_id,
            now=now,
            features={"orders_total": 1.0} if features is None and bought else features or {},
            recent_items=recent,
            recent_times=np.array([now - bought[item][0] * DAY for item in recent]),
            viewed_items=list(viewed),
            viewed_times=now - 60.0 * np.arange(1.0, len(viewed) + 1),
            repeat_items=own,
            **{f"repeat_{d}d": np.array([decayed(d)[item] for item in own]) for d in (30, 90, 365)},
            repeat_count=np.array([float(len(bought[item])) for item in own]),
            repeat_first=np.array([now - bought[item][-1] * DAY for item in own]),
            repeat_last=np.array([now - bought[item][0] * DAY for item in own]),
            category_names=[name for name, _ in categories],
            category_90d=np.array([weight for _, weight in categories], dtype=float),
            step_names=[name for name, _, _ in steps],
            step_categories=[category for _, category, _ in steps],
            step_times=np.array([now - ago * DAY for _, _, ago in steps], dtype=float),
        )

    return make


@dataclass(frozen=True)
class Buyers:
    """Simulated contacts and all their orders, by contact, then day; `who` counts from 0."""

    who: np.ndarray
    day: np.ndarray
    paid: np.ndarray

    def frame(self, day):
        """Return the features of everybody who had ordered by a day, as the feature tables have them."""
        past = pd.DataFrame({"who": self.who, "day": self.day, "paid": self.paid})[self.day <= day]
        by = past.groupby("who")
        count, first, last = by.size(), by["day"].min(), by["day"].max()
        out = pd.DataFrame({"orders_total": count.astype(float), "spend_total": by["paid"].sum()})
        out["recency_days"] = day - last
        out["order_gap_days"] = ((last - first) / (count - 1)).where(count > 1)
        out["recency_over_gap"] = out["recency_days"] / out["order_gap_days"]
        out["tenure_days"] = day - first
        out["average_order"] = out["spend_total"] / count
        for h in HALF_LIVES:
            weight = 2.0 ** ((past["day"] - day) / h)
            out[f"orders_{h}d"] = weight.groupby(past["who"]).sum()
            out[f"spend_{h}d"] = (weight * past["paid"]).groupby(past["who"]).sum()
        out["timestamp"] = pd.Timestamp("2025-01-01", tz="UTC") + pd.Timedelta(days=day)
        return out

    def waits(self, contacts, day):
        """Return the days from a day to each contact's next order; infinite: none."""
        later = self.day > day
        first = pd.Series(self.day[later]).groupby(self.who[later]).min()
        return (first.reindex(contacts) - day).fillna(np.inf).to_numpy()

    def within(self, contacts, day, days):
        """Return each contact's orders and spend in the `days` after a day."""
        held = (self.day > day) & (self.day <= day + days)
        paid = pd.Series(self.paid[held]).groupby(self.who[held])
        return tuple(part.reindex(contacts).fillna(0.0).to_numpy() for part in (paid.size(), paid.sum()))


@pytest.fixture(scope="session")
def make_buyers():
    """Make buyers who order and leave as BG/NBD says, and pay as Gamma-Gamma says, over so many days."""

    def make(count, days, r=0.8, alpha=15.0, a=0.5, b=3.0, seed=0):
        random = np.random.default_rng(seed)
        rate, leave = random.gamma(r, 1 / alpha, count), random.beta(a, b, count)
        worth = random.gamma(4.0, 10.0, count)
        at, here, stays = random.uniform(0, days / 2, count), np.arange(count), np.ones(count)
        parts = []
        while len(here):
            parts.append((here, at[here], random.gamma(3.0, worth[here] / 3.0)))
            here = here[random.random(len(here)) < stays[here]]
            stays = 1 - leave  # nobody leaves upon the first order
            at[here] += random.exponential(1 / rate[here])
            here = here[at[here] < days]
        who, day, paid = (np.concatenate(side) for side in zip(*parts, strict=True))
        order = np.lexsort((day, who))
        return Buyers(who[order], day[order], paid[order])

    return make
