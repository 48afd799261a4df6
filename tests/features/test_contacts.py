from typing import Any

import numpy as np
import pytest

from features.contacts import derive
from features.state import ContactState
from nextbest.columns import CONTACT_FEATURES, COUNTER_COLUMNS, TIME_COLUMNS

DAY = 86_400.0


def row(**known: float) -> dict[str, float]:
    return dict.fromkeys(COUNTER_COLUMNS, 0.0) | dict.fromkeys(TIME_COLUMNS, float("nan")) | known


def test_arrays_and_floats_give_the_same_features() -> None:
    rows = [
        row(last_seen=0.0, first_seen=-90 * DAY, first_order=-60 * DAY, last_order=-DAY, orders_total=3.0,
            orders_30d=2.0, orders_365d=2.9, spend_total=60.0, spend_30d=-1.0, spend_365d=-2.0,
            lines_total=6.0, sent_90d=4.0, opens_90d=2.0, clicks_90d=1.0),
        row(),
        row(last_seen=5 * DAY, first_seen=DAY, views_7d=1.0, last_view=5 * DAY),
    ]  # fmt: skip
    now = np.array([10.0, 10.0, 2.0]) * DAY
    together = derive({name: np.array([r[name] for r in rows]) for name in rows[0]}, now)
    assert set(together) == set(CONTACT_FEATURES)
    for i, one in enumerate(rows):
        alone = derive(one, float(now[i]))
        for name in CONTACT_FEATURES:
            assert alone[name] == pytest.approx(together[name][i], rel=1e-12, nan_ok=True), name


def test_what_the_features_mean() -> None:
    known = row(
        first_seen=0.0, last_seen=100 * DAY, first_order=10 * DAY, last_order=100 * DAY, orders_total=4.0
    )
    known |= {
        "spend_total": 80.0,
        "lines_total": 10.0,
        "orders_30d": 1.0,
        "orders_365d": 2.0,
        "sent_90d": 5.0,
    }
    features = derive(known | {"opens_90d": 1.0}, 130 * DAY)
    assert features["recency_days"] == 30
    assert features["tenure_days"] == 130
    assert features["order_gap_days"] == 30
    assert features["recency_over_gap"] == 1
    assert features["average_order"] == 20
    assert features["lines_per_order"] == 2.5
    assert features["orders_30d"] == 0.5
    assert features["orders_trend"] == pytest.approx((0.5 / 30) / (2 * 2 ** (-30 / 365) / 365))
    assert features["open_rate_90d"] == pytest.approx(0.2)
    assert np.isnan(features["viewed_days"])


def test_one_order_has_no_gap() -> None:
    features = derive(row(last_seen=0.0, first_order=0.0, last_order=0.0, orders_total=1.0), DAY)
    assert np.isnan(features["order_gap_days"])
    assert np.isnan(features["recency_over_gap"])


def test_a_moment_before_the_last_event_counts_as_it() -> None:
    assert derive(row(last_seen=DAY, views_7d=3.0), 0.0)["views_7d"] == 3.0


def test_a_row_a_moment_however_many_events(event: Any, ready: Any, rules: Any, now: Any) -> None:
    from features.contacts import contact_rows

    backend, table = ready(
        [
            *(event("order_completed", 3.0, contact_id="a", order_id="o", price=1.5) for _ in range(3)),
            event("order_refunded", 1.0, contact_id="a", order_id="o", price=1.5, quantity=2.0),
            event("page_viewed", 0.0, anonymous_id="v"),
            event("page_viewed", 2.0, anonymous_id="mine"),
        ],
        linked=[("mine", "a")],
    )  # fmt: skip
    rows = backend.to_pyarrow(contact_rows(table, rules, 5, now.timestamp() - 1e6)).to_pylist()
    rows.sort(key=lambda one: one["timestamp"])
    assert [(r["contact_id"], r["orders_total"], r["lines_total"], r["pages_total"]) for r in rows] == [
        ("a", 1, 3, 0), ("a", 1, 3, 1), ("a", 1, 3, 1)
    ]  # fmt: skip
    assert [r["spend_total"] for r in rows] == [4.5, 4.5, 1.5]
    assert [r["as_of"] for r in rows] == [5, 5, 5]
    assert rows[2]["spend_7d"] == pytest.approx(4.5 * 2 ** (-2 / 7) - 3)
    assert rows[2]["last_order"] == rows[0]["last_seen"]
    assert rows[0]["last_view"] is None


def test_counters_stay_exact_over_the_whole_span(event: Any, states: Any, now: Any) -> None:
    """38 years at a half-life of 7 days are 2^-1982; either side of the reference must stay a number."""
    old = event("product_viewed", 38 * 365.0, contact_id="a", item_id="milk")
    new = event("product_viewed", -1.0, contact_id="a", item_id="milk")
    view = states([old, new])["a"].at(now.timestamp() + 86_400)
    assert view.features["views_7d"] == 1.0
    assert view.features["views_365d"] == pytest.approx(1 + 2 ** -((38 * 365 + 1) / 365), rel=1e-12)
    assert states([old])["a"].counters["views_7d"] == 1.0


def test_a_row_with_nulls_reads_as_nothing() -> None:
    state = ContactState.from_row(
        {"contact_id": "a", "last_seen": 5.0, "orders_total": None, "repeat_items": None}
    )
    view = state.at(6.0)
    assert view.features["orders_total"] == 0.0
    assert np.isnan(view.times["first_order"])
    assert len(view.repeat_items) == len(view.repeat_90d) == 0
