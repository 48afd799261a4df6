"""Who gets the credit, on paths small enough to share out by hand."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextbest.errors import BadInput
from training.attribution import RULES, attribute

FIRST = pd.Timestamp("2026-03-01", tz="UTC")
PER_TOUCH = ["last_touch", "linear", "position", "shapley"]


def at(days):
    return (FIRST + pd.to_timedelta(pd.Series(days, dtype=float), unit="D")).astype("datetime64[us, UTC]")


def touched(*rows):
    who, days, keys = zip(*rows, strict=True) if rows else ((), (), ())
    return pd.DataFrame({"contact_id": list(who), "timestamp": at(list(days)), "key": list(keys)})


def bought(*rows):
    who, days, amounts = zip(*rows, strict=True) if rows else ((), (), ())
    frame = {"contact_id": list(who), "timestamp": at(list(days)), "amount": list(amounts)}
    return pd.DataFrame(frame).astype({"amount": float})


PATH = touched(("c", 0, "email"), ("c", 1, "sms"), ("c", 2, "email"), ("c", 3, "push"), ("d", 3, "sms"))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("last_touch", [0, 0, 0, 60, 0]),
        ("linear", [15, 15, 15, 15, 0]),
        ("position", [24, 6, 6, 24, 0]),
        ("shapley", [10, 20, 10, 20, 0]),
    ],
)
def test_a_path_of_four(rule, expected):
    found = attribute(PATH, bought(("c", 4, 60.0), ("e", 4, 9.0)), 7, rule)
    np.testing.assert_allclose(found.touches["revenue"], expected)
    assert (found.revenue, found.conversions) == (60.0, 1), "of e, whom nothing touched, nothing is said"
    by_key = pd.Series(expected, dtype=float).groupby(PATH["key"]).sum()
    pd.testing.assert_series_equal(found.keys["revenue"], by_key, check_names=False)


def test_paths_of_one_and_two_have_no_middle():
    found = attribute(PATH, bought(("c", 1.5, 10.0), ("d", 4, 8.0)), 7, "position")
    assert found.touches["revenue"].tolist() == [5, 5, 0, 0, 8]


def test_the_window_is_closed_at_both_ends_and_a_touch_serves_every_order_after_it():
    orders = bought(("c", 1, 1.0), ("c", 2, 10.0), ("c", 9.5, 100.0))
    found = attribute(touched(("c", 1, "a"), ("c", 2.5, "b")), orders, 1, "last_touch")
    assert found.touches["revenue"].tolist() == [11, 0], "at the order's moment, and a day before to the dot"
    assert found.conversions == 2


def test_of_touches_at_one_moment_the_one_given_last_is_the_last():
    both = touched(("c", 1, "a"), ("c", 1, "b"))
    assert attribute(both, bought(("c", 2, 5.0)), 7, "last_touch").touches["revenue"].tolist() == [0, 5]
    turned = both.iloc[::-1]
    found = attribute(turned, bought(("c", 2, 5.0)), 7, "last_touch").touches
    assert found["revenue"].to_dict() == {1: 0, 0: 5}, "rows keep their index"


def test_removal_effects_are_those_of_the_chain():
    """a → b → order; b → order; a → nothing. Without a: half of the chance; without b: all of it."""
    touches = touched(("c", 0, "a"), ("c", 1, "b"), ("d", 1, "b"), ("e", 0, "a"))
    found = attribute(touches, bought(("c", 2, 30.0), ("d", 2, 60.0)), 7, "markov")
    # P(order) = 2/3·1/2·1 + 1/3·1 = 2/3; without a 1/3; without b 0: effects 1/2 and 1
    np.testing.assert_allclose(found.keys["revenue"], [30.0, 60.0])
    np.testing.assert_allclose(found.keys["conversions"], [2 / 3, 4 / 3])
    assert found.touches is None


def brute_removal(walks, keys):
    """P(conversion) with each key removed, by iterating the chain of (path, converted)."""
    counts = pd.Series(
        [pair for path, won in walks for pair in zip(["^", *path], [*path, "$" if won else "0"], strict=True)]
    ).value_counts()
    leaving = {}
    for (source, _), n in counts.items():
        leaving[source] = leaving.get(source, 0) + n

    def chance(gone=None):
        mass, won = {"^": 1.0}, 0.0
        for _ in range(500):
            then = {}
            for (source, target), n in counts.items():
                if source in mass and target not in ("0", gone):
                    then[target] = then.get(target, 0.0) + mass[source] * n / leaving[source]
            won += then.pop("$", 0.0)
            mass = then
        return won

    whole = chance()
    effects = np.array([1 - chance(key) / whole for key in keys])
    return effects / effects.sum()


def test_removal_effects_with_loops_are_those_of_walking_the_chain():
    random = np.random.default_rng(3)
    rows, orders, walks = [], [], []
    for person in range(25):
        path = random.choice(["a", "b", "c"], random.integers(1, 6), p=[0.5, 0.3, 0.2]).tolist()
        won = bool(random.random() < 0.2 + 0.5 * ("c" in path)) or person == 0
        rows += [(f"p{person}", i * 0.1, key) for i, key in enumerate(path)]
        orders += [(f"p{person}", 2, 10.0)] if won else []
        walks.append((path, won))
    found = attribute(touched(*rows), bought(*orders), 7, "markov")
    expected = brute_removal(walks, ["a", "b", "c"]) * 10 * len(orders)
    np.testing.assert_allclose(found.keys["revenue"], expected, rtol=1e-9)


KEYS = st.sampled_from(["a", "b", "c", "d"])
PEOPLE = st.sampled_from(["x", "y", "z"])
TIMES = st.integers(0, 40).map(lambda quarter: quarter / 4)
TOUCHES = st.lists(st.tuples(PEOPLE, TIMES, KEYS), max_size=14)
ORDERS = st.lists(st.tuples(PEOPLE, TIMES, st.integers(1, 50)), max_size=6)


def reached(touches, orders, days):
    """Rows of the orders with a touch in the window, and of the touches in any order's."""
    pairs = [
        (t, o)
        for o, (buyer, when, _) in enumerate(orders)
        for t, (who, moment, _) in enumerate(touches)
        if who == buyer and when - days <= moment <= when
    ]
    return {o for _, o in pairs}, {t for t, _ in pairs}


@settings(deadline=None, max_examples=80)
@given(TOUCHES, ORDERS, st.sampled_from([0.25, 1.0, 3.0]), st.sampled_from(RULES))
def test_credits_add_up_and_nothing_goes_to_touches_outside(touches, orders, days, rule):
    found = attribute(touched(*touches), bought(*orders), days, rule)
    with_touch, in_window = reached(touches, orders, days)
    revenue = sum(orders[o][2] for o in with_touch)
    assert found.revenue == revenue
    assert found.conversions == len(with_touch)
    assert found.keys["revenue"].sum() == pytest.approx(revenue)
    assert found.keys["conversions"].sum() == pytest.approx(len(with_touch))
    assert (found.keys >= 0).all(axis=None)
    if found.touches is not None:
        outside = [t for t in range(len(touches)) if t not in in_window]
        assert not found.touches.iloc[outside].to_numpy().any()
        assert found.touches["revenue"].sum() == pytest.approx(revenue)


@settings(deadline=None, max_examples=40)
@given(TOUCHES, ORDERS)
def test_with_one_key_all_rules_agree(touches, orders):
    alone = touched(*((who, when, "email") for who, when, _ in touches))
    found = [attribute(alone, bought(*orders), 2, rule).keys for rule in RULES]
    for other in found[1:]:
        pd.testing.assert_frame_equal(found[0], other)


@settings(deadline=None, max_examples=40)
@given(TOUCHES, ORDERS)
def test_the_shapley_value_is_the_mean_over_all_orders_of_joining(touches, orders):
    days = 2.0
    paths = []
    for buyer, when, amount in orders:
        held = {k for who, moment, k in touches if who == buyer and when - days <= moment <= when}
        paths += [(held, amount)] if held else []

    def worth(keys):
        return sum(amount for held, amount in paths if held <= keys)

    expected = dict.fromkeys("abcd", 0.0)
    for order in permutations("abcd"):
        for place, key in enumerate(order):
            expected[key] += (worth({*order[: place + 1]}) - worth({*order[:place]})) / 24
    found = attribute(touched(*touches), bought(*orders), days, "shapley").keys["revenue"]
    assert found.to_dict() == pytest.approx({key: expected[key] for key in found.index})


def test_what_cannot_be_asked():
    with pytest.raises(BadInput, match="no rule 'first'; known: last_touch"):
        attribute(PATH, bought(), 7, "first")
    for days in (0, -1, float("nan"), float("inf")):
        with pytest.raises(BadInput, match="a number above 0"):
            attribute(PATH, bought(), days, "linear")


@pytest.mark.parametrize("rule", RULES)
def test_without_orders_or_touches_there_is_nothing_to_share_out(rule):
    none = attribute(PATH, bought(), 7, rule)
    assert (none.revenue, none.keys["revenue"].sum()) == (0, 0)
    assert list(none.keys.index) == ["email", "push", "sms"]
    nobody = attribute(touched(), bought(("c", 1, 5.0)), 7, rule)
    assert (nobody.revenue, len(nobody.keys)) == (0, 0)
