"""Catalogues and shoppers in a line each, for the tests of the recommenders."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from models.catalogue import Catalogue
from nextbest.columns import ITEM_STATISTICS

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
