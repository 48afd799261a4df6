"""What trees add to BG/NBD and Gamma-Gamma: nothing where there is nothing, and what was planted."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from models._value_head import FEATURES, MOST, TRUSTS, Head, HeadConfig, head_features, trusted
from models.value import Value, ValueConfig, Window

QUICK = HeadConfig(rounds=60, rows_in_leaf=50)
NOW, LENGTH = 400.0, 60.0
BOOST = 3.0


def simulated(count, seed, effect):
    """Features, what is expected, and what came; those with views come `effect` times as much."""
    random = np.random.default_rng(seed)
    values = random.random((count, len(FEATURES)))
    views = values[:, FEATURES.index("views_7d")] > 0.5
    expected = random.gamma(1.0, 20.0, count)
    rate = np.where(views, effect, 1.0) * expected
    return values, expected, random.poisson(0.3, count) / 0.3 * rate, views


def test_with_nothing_to_learn_the_factor_stays_near_one():
    values, expected, actual, _ = simulated(4000, 0, 1.0)
    head = Head.learn(values, expected, actual, QUICK, 7)
    factor = head.factor(values)
    assert np.abs(np.log(factor)).mean() < 0.15
    later, foreseen, came, _ = simulated(4000, 1, 1.0)
    other = head.factor(later)
    assert trusted([came], [lambda trust: foreseen * other**trust]) <= 0.25


def test_a_planted_effect_is_found_and_the_total_agrees():
    values, expected, actual, _ = simulated(6000, 0, BOOST)
    head = Head.learn(values, expected, actual, HeadConfig(rows_in_leaf=50), 7)
    assert (expected * head.factor(values)).sum() == pytest.approx(actual.sum(), rel=1e-6)
    later, foreseen, came, views = simulated(6000, 1, BOOST)
    factor = head.factor(later)
    assert np.median(factor[views]) / np.median(factor[~views]) == pytest.approx(BOOST, rel=0.25)
    assert (foreseen * factor).sum() == pytest.approx(came.sum(), rel=0.1)
    assert np.square(foreseen * factor - came).sum() < np.square(foreseen - came).sum()


def test_no_factor_is_beyond_its_bounds_and_trust_draws_it_to_one():
    values, expected, actual, _ = simulated(2000, 0, 1e4)
    head = Head.learn(values, expected, actual, QUICK, 7)
    factor = head.factor(values)
    assert factor.max() <= MOST
    assert factor.min() >= 1 / MOST
    np.testing.assert_allclose(head.tempered(0.5).factor(values), np.sqrt(factor))
    np.testing.assert_array_equal(head.tempered(0.0).factor(values), 1.0)


def test_refunds_count_as_nothing_and_more_rows_than_fit_are_sampled():
    values, expected, actual, _ = simulated(1000, 0, 1.0)
    refunded = np.where(actual == 0, -50.0, actual)
    one, other = (Head.learn(values, expected, came, QUICK, 7) for came in (actual, refunded))
    np.testing.assert_array_equal(one.factor(values), other.factor(values))
    few = Head.learn(values, expected, actual, HeadConfig(rounds=5, most_rows=200), 7)
    assert np.isfinite(few.factor(values)).all()


def test_trust_is_what_errs_least_over_all_windows():
    came, expected, factor = np.array([4.0, 1.0]), np.array([2.0, 2.0]), np.array([2.0, 0.5])
    right = lambda trust: expected * factor**trust  # noqa: E731
    wrong = lambda trust: expected / factor**trust  # noqa: E731
    assert trusted([came], [right]) == 1.0
    assert trusted([came], [wrong]) == 0.0
    assert trusted([came, came], [wrong, wrong]) == 0.0
    assert trusted([came * 10, came], [lambda trust: 10 * right(trust), wrong]) == 1.0
    assert trusted([], []) == 0.0
    halfway = trusted([expected * np.sqrt(factor)], [right])
    assert halfway == 0.5
    assert halfway in TRUSTS
    unknown = [np.array([np.nan, 1.0])]
    assert trusted([np.array([5.0, 1.0])], [lambda trust: unknown[0] * (1 + trust)]) == 0.0


# --- on the value model


@pytest.fixture(scope="module")
def buyers(make_buyers):
    return make_buyers(1500, NOW + 120.0, seed=3)


def frame_of(buyers, day):
    """Whether somebody looks around says nothing of the past: it changes by the moment."""
    frame = buyers.frame(day)
    views = np.random.default_rng(int(day)).integers(0, 2, len(frame))
    return frame.assign(views_7d=views.astype(float))


def windows_of(buyers, effect, count=6):
    """Windows of the past, the latest first, in which who looks around buys `effect` times as much."""
    found = []
    for n in range(count):
        day = NOW - LENGTH - 30.0 * n
        frame = frame_of(buyers, day)
        orders, spend = buyers.within(frame.index, day, LENGTH)
        times = np.where(frame["views_7d"] > 0, effect, 1.0)
        found.append(Window(frame, orders * times, spend * times, LENGTH))
    return found


@pytest.fixture(scope="module")
def plain(buyers):
    return Value.learn(frame_of(buyers, NOW), ValueConfig(horizon_days=LENGTH, head=QUICK))


@pytest.fixture(scope="module")
def helped(buyers, plain):
    return plain.with_heads(windows_of(buyers, BOOST))


def test_where_bgnbd_is_the_truth_heads_leave_it_as_it_is(buyers, plain):
    found = plain.with_heads(windows_of(buyers, 1.0))
    frame = frame_of(buyers, NOW)
    mine, before = found.score(frame), plain.score(frame)
    for column, came in zip(
        ("expected_orders", "expected_spend"), buyers.within(frame.index, NOW, LENGTH), strict=True
    ):
        assert np.abs(mine[column] - before[column]).sum() < 0.15 * before[column].sum()
        assert mine[column].sum() == pytest.approx(before[column].sum(), rel=0.03)
        assert np.abs(mine[column] - came).mean() < 1.005 * np.abs(before[column] - came).mean()


def test_without_windows_to_try_them_on_heads_are_left_out(buyers, plain):
    assert plain.with_heads([]).heads == {}
    assert plain.with_heads(windows_of(buyers, BOOST, count=1)).heads == {}
    # none of these has ended when another begins
    close = [replace(window, days=1000.0) for window in windows_of(buyers, BOOST, count=3)]
    assert plain.with_heads(close).heads == {}


def test_windows_in_which_nobody_bought_say_nothing(buyers, plain):
    closed = [replace(w, orders=w.orders * 0, spend=w.spend * 0) for w in windows_of(buyers, BOOST)]
    shut = plain.with_heads(closed)
    assert shut.heads == {}
    assert shut.spread is None
    refunds = [replace(w, spend=np.minimum(w.spend, 0.0) - 1) for w in windows_of(buyers, BOOST)]
    assert set(plain.with_heads(refunds).heads) == {"orders"}


def test_without_prices_only_the_orders_have_a_head(buyers):
    frame = frame_of(buyers, NOW).assign(spend_total=0.0)
    free = [
        replace(w, frame=w.frame.assign(spend_total=0.0), spend=w.spend * 0)
        for w in windows_of(buyers, BOOST)
    ]
    found = Value.learn(frame, ValueConfig(horizon_days=LENGTH, head=QUICK)).with_heads(free)
    assert set(found.heads) == {"orders"}
    scores = found.score(frame)
    assert scores["expected_orders"].notna().all()
    assert scores[["expected_spend", "spend_low", "spend_high", "spend_90d"]].isna().all(axis=None)


def test_heads_that_pay_are_found_on_orders_and_spend(buyers, plain, helped):
    frame = frame_of(buyers, NOW)
    orders, spend = buyers.within(frame.index, NOW, LENGTH)
    times = np.where(frame["views_7d"] > 0, BOOST, 1.0)
    assert set(helped.heads) == {"orders", "spend"}
    mine, before = helped.score(frame), plain.score(frame)
    for column, came in (("expected_orders", orders * times), ("expected_spend", spend * times)):
        assert np.abs(mine[column] - came).mean() < 0.95 * np.abs(before[column] - came).mean()
        assert mine[column].sum() == pytest.approx(came.sum(), rel=0.2)


def test_horizons_agree_with_each_other(buyers, helped):
    scores = helped.score(frame_of(buyers, NOW))
    for what in ("orders", "spend"):
        assert (scores[f"expected_{what}"] < scores[f"{what}_90d"]).all()
        assert (scores[f"{what}_90d"] < scores[f"{what}_365d"]).all()
        assert (scores[f"{what}_365d"] < 365 / LENGTH * scores[f"expected_{what}"] * (1 + 1e-9)).all()
    np.testing.assert_allclose(scores["total_value"], scores["past_spend"] + scores["spend_365d"])


def test_the_interval_of_the_spend_holds_what_comes(buyers, helped):
    scores = helped.score(frame_of(buyers, NOW))
    low, high = scores["spend_low"], scores["spend_high"]
    assert (low <= scores["expected_spend"]).all()
    assert (scores["expected_spend"] <= high).all()
    frame = frame_of(buyers, NOW)
    spend = buyers.within(frame.index, NOW, LENGTH)[1] * np.where(frame["views_7d"] > 0, BOOST, 1.0)
    assert ((low <= spend) & (spend <= high)).mean() > 0.86


def test_the_interval_of_the_orders_goes_with_the_expectation(buyers, plain, helped):
    frame = frame_of(buyers, NOW)
    scores = helped.score(frame)
    low, high, expected = (scores[name] for name in ("orders_low", "orders_high", "expected_orders"))
    assert (low <= np.ceil(expected)).all()
    assert (expected <= high + 1).all()
    orders = buyers.within(frame.index, NOW, LENGTH)[0] * np.where(frame["views_7d"] > 0, BOOST, 1.0)
    before = plain.score(frame)
    held = ((low <= orders) & (orders <= high)).mean()
    assert held > 0.88
    assert held > ((before["orders_low"] <= orders) & (orders <= before["orders_high"])).mean()


def test_heads_are_saved_bit_for_bit(buyers, helped, tmp_path):
    helped.save(tmp_path)
    again = Value.load(tmp_path)
    frame = frame_of(buyers, NOW)
    pd.testing.assert_frame_equal(again.score(frame), helped.score(frame), check_exact=True)
    assert again.config == helped.config
    twice = tmp_path / "twice"
    twice.mkdir()
    again.save(twice)
    for file in tmp_path.glob("*.*"):
        assert (twice / file.name).read_bytes() == file.read_bytes()


def test_windows_before_there_were_buyers_are_passed_over(buyers, plain):
    early = buyers.frame(2.0)
    nobody = Window(early, np.zeros(len(early)), np.zeros(len(early)), LENGTH)
    assert plain.with_heads([nobody]).heads == {}
    assert plain.with_heads([nobody]).spread is None


def test_the_input_of_the_trees_has_every_feature(buyers, plain):
    frame = frame_of(buyers, NOW)[:10]
    values = head_features(frame, plain.pattern(frame))
    assert values.shape == (10, len(FEATURES))
    assert np.isfinite(values[:, FEATURES.index("p_alive")]).all()
