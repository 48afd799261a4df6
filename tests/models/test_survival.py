"""The survival curve: against simulated buyers whose hazard is known, and read off by hand."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models._bgnbd import BgNbd
from models._curve import HORIZONS, none_at, waits_of
from models._survival import FEATURES, P_NONE, Survival, Trees, Waits
from models.rfm import Rfm
from models.value import History, Value, ValueConfig
from nextbest.errors import BadInput, NotReady

TRUTH = BgNbd(0.8, 15.0, 0.5, 3.0)
TRAIN, LATER, NOW, END = 200.0, 290.0, 380.0, 500.0
TREES = Trees(rounds=60)


@pytest.fixture(scope="module")
def buyers(make_buyers):
    return make_buyers(4000, END, TRUTH.r, TRUTH.alpha, TRUTH.a, TRUTH.b)


def waits_at(buyers, day, until):
    frame = buyers.frame(day)
    seen = np.full(len(frame), until - day)
    waits = buyers.waits(frame.index, day)
    return Waits(frame, np.where(waits <= seen, waits, np.inf), seen)


@pytest.fixture(scope="module")
def survival(buyers):
    early, later = waits_at(buyers, TRAIN, LATER), waits_at(buyers, LATER, NOW)
    value = Value.learn(early.frame, ValueConfig())
    return Survival.learn(early, later, Rfm.learn(early.frame), value, HORIZONS, TREES, 7, 200)


@pytest.fixture(scope="module")
def now(buyers):
    return buyers.frame(NOW)


@pytest.mark.parametrize("days", [*HORIZONS[:5], 3, 20, 45, 75, 110])
def test_it_says_the_truth_at_horizons_learned_and_others(survival, buyers, now, days):
    found = survival.none_within(now, np.full(len(now), float(days)))
    history = History.of(now)
    truth = TRUTH.p_none(history.x, history.t_x, history.seen, float(days))
    assert np.abs(found - truth).mean() < 0.03
    left = buyers.waits(now.index, NOW) > days
    for part in np.array_split(np.argsort(found), 5):
        assert found[part].mean() == pytest.approx(left[part].mean(), abs=0.06)
    assert found.mean() == pytest.approx(left.mean(), abs=0.02)


def test_it_never_rises_with_the_horizon(survival, now):
    curve = survival.curve(now)
    assert curve.shape == (len(now), len(HORIZONS))
    assert (np.diff(curve, axis=1) <= 0).all()
    some = now[::10]
    days = [1, 5, *(horizon + step for horizon in HORIZONS for step in (-1, 0, 1, horizon // 3)), 500]
    asked = [survival.none_within(some, np.full(len(some), float(day))) for day in sorted(days)]
    assert np.diff(np.array(asked), axis=0).max() <= 1e-12


def test_it_is_read_off_its_own_curve(survival, now):
    curve = survival.curve(now)
    for place, days in enumerate(HORIZONS):
        np.testing.assert_allclose(survival.none_within(now, np.full(len(now), float(days))), curve[:, place])


def test_each_row_has_a_horizon_of_its_own(survival, now):
    days = np.random.default_rng(1).choice([5.0, 30.0, 45.0, 90.0, 300.0], len(now))
    mixed = survival.none_within(now, days)
    for one in np.unique(days):
        rows = days == one
        alone = survival.none_within(now[rows], np.full(int(rows.sum()), one))
        np.testing.assert_array_equal(mixed[rows], alone)


def test_horizons_beyond_the_data_are_not_learned(survival, buyers):
    assert set(survival.calibrations) == {7, 14, 30, 60, 90}
    early, later = waits_at(buyers, TRAIN, LATER), waits_at(buyers, LATER, NOW)
    rfm = Rfm.learn(early.frame)
    with pytest.raises(NotReady, match="0 rows for training"):
        Survival.learn(early, later, rfm, None, (180, *HORIZONS), TREES, 7, 200)


def test_what_moved_it_adds_up_to_the_log_odds(survival, now):
    days = np.full(50, 30.0)
    values, moved = survival.moved(now[:50], days)
    assert values.shape == moved.shape == (50, len(FEATURES))
    raw = survival._raw(values)
    sums = moved.sum(axis=1)
    odds = np.log(raw / (1 - raw))
    np.testing.assert_allclose(odds - odds[0], sums - sums[0], atol=1e-6)
    assert np.abs(moved).mean(axis=0).argmax() == P_NONE


def test_learned_again_it_keeps_its_calibration(survival, buyers):
    whole = waits_at(buyers, LATER, NOW)
    again = survival.again(whole, survival.rfm, survival.value, HORIZONS, TREES, 7)
    assert again.calibrations == survival.calibrations
    found, before = again.none_within(whole.frame, whole.seen), survival.none_within(whole.frame, whole.seen)
    assert 0 < np.abs(found - before).mean() < 0.05


def test_it_survives_saving_and_refuses_other_features(survival, now, tmp_path):
    survival.save(tmp_path)
    days = np.full(len(now), 45.0)
    again = Survival.load(tmp_path)
    np.testing.assert_array_equal(again.none_within(now, days), survival.none_within(now, days))
    file = tmp_path / "survival.json"
    parts = json.loads(file.read_text())
    file.write_text(json.dumps({**parts, "features": parts["features"][1:]}))
    with pytest.raises(BadInput, match="nextbest train churn"):
        Survival.load(tmp_path)


def test_it_reads_only_what_was_seen():
    frame = pd.DataFrame({"orders_total": [1.0] * 4})
    waits = Waits(frame, np.array([3.0, 7.0, np.inf, np.inf]), np.array([10.0, 7.0, 7.0, 5.0]))
    rows, left = waits.by(7)
    assert rows.tolist() == [0, 1, 2]
    assert left.tolist() == [0.0, 0.0, 1.0]


# --- reading days off a curve


def test_days_by_which_an_order_has_come():
    halves = 0.5 ** (np.array(HORIZONS) / 30.0)
    never = np.ones(len(HORIZONS))
    at_once = np.zeros(len(HORIZONS))
    late = np.where(np.array(HORIZONS) >= 365, 0.4, 1.0)
    waits = waits_of(np.array([halves, never, at_once, late]), (0.5, 0.75, 0.9))
    np.testing.assert_allclose(waits[0], [30.0, 60.0, 30 * np.log2(10)])
    assert np.isnan(waits[1]).all()
    assert (waits[2] > 0).all()
    assert (waits[2] < 1).all()
    # between 180 and 365 days at one rate: by ln 2 / ln 2.5 of the way half have ordered
    assert waits[3, 0] == pytest.approx(180 + 185 * np.log(2) / np.log(2.5))
    assert np.isnan(waits[3, 1:]).all()


def test_no_order_within_days_between_and_beyond_the_horizons():
    curve = np.array([0.5 ** (np.array(HORIZONS) / 30.0), np.ones(len(HORIZONS))])
    for days in (0.0, 3.0, 7.0, 45.0, 365.0):
        np.testing.assert_allclose(none_at(curve, days), [0.5 ** (days / 30.0), 1.0])
    np.testing.assert_array_equal(none_at(curve, 500.0), curve[:, -1])


@given(
    st.lists(st.floats(0.0, 1.0), min_size=len(HORIZONS), max_size=len(HORIZONS)),
    st.floats(0.05, 0.95),
)
def test_both_readings_undo_each_other(drops, share):
    curve = np.cumprod(np.array(drops))[None, :]
    days = waits_of(curve, (share,))[0, 0]
    if np.isnan(days):
        assert curve[0, -1] > 1 - share - 1e-9
    else:
        assert 0 <= days <= HORIZONS[-1]
        assert none_at(curve, days)[0] == pytest.approx(1 - share, abs=1e-6)
