from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.items import item_day_rows, statistics_at
from nextbest.columns import ITEM_STATISTICS


@pytest.fixture
def shelf(event: Any, ready: Any, now: Any) -> Any:
    def make(events: Any, at: Any) -> pd.DataFrame:
        backend, table = ready(events)
        rows = backend.to_pyarrow(item_day_rows(table, now.timestamp() - 1e7)).to_pandas()
        past = rows[rows["timestamp"] <= at].sort_values("timestamp").groupby("item_id").tail(1)
        return statistics_at(past, at).set_index("item_id")

    return make


def buy(event: Any, days_ago: float, contact: str | None, item: str = "milk", **more: Any) -> Any:
    return event("order_completed", days_ago, contact_id=contact, item_id=item, price=2.0, **more)


def test_who_comes_back_and_when(event: Any, shelf: Any, now: Any) -> None:
    events = [
        buy(event, 30, "a"), buy(event, 20, "a"), buy(event, 16, "a"),  # gaps of 10 and 4 days
        buy(event, 9, "b", order_id="o"), buy(event, 9, "b", order_id="o"),  # one order: no repurchase
        buy(event, 1, None, anonymous_id="v"),
        event("product_viewed", 2, anonymous_id="v", item_id="milk"),
        event("product_viewed", 2, anonymous_id="v", item_id="soap"),
    ]  # fmt: skip
    table = shelf(events, now)
    milk, soap = table.loc["milk"], table.loc["soap"]
    assert list(table.columns) == list(ITEM_STATISTICS)
    assert (milk["sold_total"], milk["buyers"], milk["repeat_buyers"]) == (6, 3, 1)
    assert milk["repurchase_rate"] == pytest.approx(1 / 3)
    assert milk["cadence_days"] == pytest.approx(7.0)
    assert milk["mean_price"] == 2.0
    assert milk["sold_30d"] == pytest.approx(sum(2 ** (-d / 30) for d in (30, 20, 16, 9, 9, 1)))
    assert milk["viewed_7d"] == pytest.approx(2 ** (-2 / 7))
    assert milk["last_sold"] - milk["first_sold"] == pytest.approx(29 * 86_400)
    assert soap["sold_total"] == soap["buyers"] == 0
    assert np.isnan(
        [soap["repurchase_rate"], soap["cadence_days"], soap["mean_price"], soap["last_sold"]]
    ).all()


def test_statistics_hold_at_their_moment(event: Any, shelf: Any, now: Any) -> None:
    past = [buy(event, 30, "a"), buy(event, 20, "a"), buy(event, 19.9, "b", "soap")]
    at = now - timedelta(days=10)
    before = shelf(past, at)
    later = [buy(event, 5, "a"), buy(event, 5, "b"), buy(event, 9.9, "c", "bread")]
    pd.testing.assert_frame_equal(
        shelf([*past, *later], at).sort_index(), before.sort_index(), check_exact=False
    )
