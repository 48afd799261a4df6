from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.fold import fold
from features.points import Rules
from features.state import NAME_ARRAYS, ContactState, ContactView
from nextbest.columns import (
    ARRAY_COLUMNS,
    CHANNEL_COLUMNS,
    COUNTER_COLUMNS,
    STEP_COLUMNS,
    STEPS,
    TIME_COLUMNS,
)

PATHS = {
    "milk": "food/dairy/fresh",
    "butter": "food/dairy/fats",
    "bread": "food/bakery/loaves",
    "soap": "home/bath",
}
KINDS = (
    "page_viewed", "product_viewed", "product_clicked", "product_added", "product_removed",
    "products_searched", "form_submitted", "message_sent", "message_opened", "message_clicked",
    "unsubscribed", "order_refunded", "wished",
)  # fmt: skip
ITEM = st.sampled_from([*PATHS, "bag", None])
AMOUNT = st.one_of(st.none(), st.sampled_from([0.0, 0.99, 3.5, 1200.0]))
AGO = st.one_of(
    st.integers(0, 60 * 86_400_000).map(lambda ms: ms / 86_400_000),  # so that milliseconds matter
    st.integers(0, 37 * 365).map(float),  # so that moments coincide, and the whole span is used
)
SINGLE = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(KINDS), "days_ago": AGO, "item_id": ITEM, "price": AMOUNT, "quantity": AMOUNT,
        "channel": st.sampled_from(["email", "sms", None]),
        "url": st.sampled_from([None, "https://x.org/pricing?a=1", "https://x.org/careers/\nit"]),
    }
).map(lambda one: [one])  # fmt: skip
ORDER = st.builds(
    lambda lines, ago, number: [
        line | {"kind": "order_completed", "days_ago": ago, "order_id": number} for line in lines
    ],
    st.lists(
        st.fixed_dictionaries({"item_id": ITEM, "price": AMOUNT, "quantity": AMOUNT}), min_size=1, max_size=4
    ),
    AGO,
    st.sampled_from([None, "o"]),
)  # fmt: skip
HISTORY = st.lists(st.one_of(SINGLE, ORDER), min_size=1, max_size=8)


def arrived(
    history: list[list[dict[str, Any]]], order: list[int], event: Callable[..., Any]
) -> list[dict[str, Any]]:
    """Return a contact's events as the log would hold them, with position and lead."""
    numbered = [
        one | ({"order_id": f"o{i}"} if one.get("order_id") else {})
        for i, group in enumerate(history)
        for one in group
    ]
    rows = [event(**one) for one in numbered]
    rows = [rows[i] for i in sorted(range(len(rows)), key=lambda i: order[i % len(order)] * 97 % 31)]
    seen: set[str] = set()
    for position, row in enumerate(rows, 1):
        lead = row["event"] != "order_completed" or row["order_id"] not in seen
        if row["event"] == "order_completed" and row["order_id"]:
            seen.add(row["order_id"])
        row |= {"position": position, "lead": lead}
    return rows


def same(ours: ContactView, batch: ContactView, weight: float) -> None:
    """Assert equality to 1e-9 of what the sums are made of, arrays by name."""
    for name in COUNTER_COLUMNS:
        assert ours.features[name] == pytest.approx(batch.features[name], rel=1e-9, abs=1e-9 * weight), name
    for name in TIME_COLUMNS:
        assert ours.times[name] == pytest.approx(batch.times[name], abs=1e-5, nan_ok=True), name
    assert ours.channels.keys() == batch.channels.keys()
    for channel, values in batch.channels.items():
        assert ours.channels[channel] == pytest.approx(values, rel=1e-9, abs=1e-9, nan_ok=True)
    for column in STEP_COLUMNS:
        assert list(getattr(ours, column)) == list(getattr(batch, column)), column
    names = ""
    for column in (c for c in ARRAY_COLUMNS if c not in (*CHANNEL_COLUMNS, *STEP_COLUMNS)):
        if column in NAME_ARRAYS:
            names = column
            assert sorted(getattr(ours, column)) == sorted(getattr(batch, column)), column
        else:
            left = dict(zip(getattr(ours, names), getattr(ours, column), strict=True))
            right = dict(zip(getattr(batch, names), getattr(batch, column), strict=True))
            assert left == pytest.approx(right, rel=1e-9, abs=1e-9, nan_ok=True), column


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=HISTORY, order=st.lists(st.integers(0, 30), min_size=1, max_size=7), later=st.floats(0, 400))
def test_any_split_between_batch_and_log_gives_the_batch(
    history: Any, order: Any, later: float, event: Any, states: Any, rules: Rules, now: Any
) -> None:
    rows = arrived(history, order, event)
    prefixes = [  # every split at once: contact "n" holds the first n events
        row | {"contact_id": f"{n}", "event_id": f"{n}-{row['event_id']}"}
        for n in range(1, len(rows) + 1)
        for row in rows[:n]
    ]
    batch = states(prefixes) | {"0": ContactState.empty("0")}
    moment = now.timestamp() + later * 86_400
    whole = batch[f"{len(rows)}"].at(moment)
    weight = 1.0 + sum((row["price"] or 0.0) * (row["quantity"] or 1.0) for row in rows)
    for split in range(len(rows)):
        same(fold(batch[f"{split}"], rows[split:], rules, PATHS).at(moment), whole, weight)


def test_a_position_counted_is_not_counted_again(event: Any, rules: Rules) -> None:
    row = event("order_completed", contact_id="a", item_id="milk", price=2.0) | {"position": 7, "lead": True}
    once = fold(ContactState.empty("a"), [row], rules, PATHS)
    assert once.as_of == 7
    assert fold(once, [row], rules, PATHS) is once


def test_lists_stored_later_than_counters_take_only_what_they_lack(event: Any, rules: Rules) -> None:
    row = event("order_completed", contact_id="a", item_id="milk", price=2.0) | {"position": 7, "lead": True}
    counted = fold(ContactState.empty("a"), [row], rules, PATHS)
    half = ContactState.from_row({**counted.counters, **counted.times, "as_of": 7, "lists_as_of": 3})
    view = fold(half, [row], rules, PATHS).at(counted.timestamp)
    assert view.features["orders_total"] == 1.0
    assert list(view.recent_items) == ["milk"]


def test_an_order_of_three_lines_counts_once(event: Any, rules: Rules) -> None:
    lines = [
        event("order_completed", order_id="o", item_id=item, price=2.0, quantity=3.0)
        | {"lead": item == "milk"}
        for item in ("milk", "bread", "soap")
    ]
    view = fold(ContactState.empty("a"), lines, rules, PATHS).at(lines[0]["timestamp"].timestamp())
    assert view.features["orders_total"] == view.features["orders_7d"] == 1.0
    assert view.features["lines_total"] == 3.0
    assert view.features["spend_total"] == 18.0
    assert view.features["points_90d"] == 10.0
    assert list(view.category_names) == ["food/bakery", "food/dairy", "home/bath"]


def test_half_life_is_half_after_it(event: Any, rules: Rules, now: Any) -> None:
    state = fold(ContactState.empty("a"), [event("product_viewed", item_id="milk")], rules, PATHS)
    view = state.at((now + timedelta(days=30)).timestamp())
    assert view.features["views_30d"] == pytest.approx(0.5)
    assert view.features["views_7d"] == pytest.approx(2 ** (-30 / 7))
    assert view.features["views_total"] == 1.0
    assert np.isnan(view.times["last_order"])


def test_a_late_event_weighs_as_if_it_had_been_there(event: Any, rules: Rules, now: Any) -> None:
    late, last = event("product_viewed", 30.0, item_id="milk"), event("product_viewed", item_id="soap")
    view = fold(fold(ContactState.empty("a"), [last], rules), [late], rules).at(now.timestamp())
    assert view.features["views_30d"] == pytest.approx(1.5)
    assert list(view.viewed_items) == ["soap", "milk"]


def test_recent_items_stay_exact_when_cut(event: Any, rules: Rules, now: Any) -> None:
    bought = [event("order_completed", i / 10, item_id=f"i{i:03}", price=1.0) for i in range(150)]
    all_at_once = fold(ContactState.empty("a"), bought, rules).at(now.timestamp())
    one_by_one = ContactState.empty("a")
    for row in sorted(bought, key=lambda row: str(row["item_id"])[::-1]):
        one_by_one = fold(one_by_one, [row], rules)
    view = one_by_one.at(now.timestamp())
    assert list(view.recent_items) == list(all_at_once.recent_items) == [f"i{i:03}" for i in range(100)]


def test_steps_stay_exact_when_cut_and_are_held_once_a_moment(
    event: Any, states: Any, rules: Rules, now: Any
) -> None:
    taken = [
        event("product_viewed", i / 7, contact_id="a", item_id=("milk", "bag")[i % 2]) for i in range(30)
    ]
    taken += [event("product_viewed", i / 7, contact_id="a", item_id="milk") for i in range(30)]
    taken += [
        event("order_completed", 0.0, contact_id="a", item_id="soap", order_id="o"),
        event("wished", contact_id="a"),
    ]
    one_by_one = ContactState.empty("a")
    for row in sorted(taken, key=lambda row: str(row["timestamp"])[::-1]):
        one_by_one = fold(one_by_one, [row], rules, PATHS)
    ours, batch = one_by_one.at(now.timestamp()), states(taken)["a"].at(now.timestamp())
    for column in STEP_COLUMNS:
        assert list(getattr(ours, column)) == list(getattr(batch, column)), column
    assert len(ours.step_names) == STEPS
    assert (ours.step_names[:3], ours.step_categories[:3]) == (
        ["product_viewed", "wished", "product_viewed"],
        ["food/dairy", "", ""],
    )


def test_nothing_folded_is_nothing_known(rules: Rules) -> None:
    state = fold(ContactState.empty("a"), [], rules)
    view = state.at(1.0)
    assert (view.features, view.channels, list(view.recent_items), view.known) == ({}, {}, [], False)
