import json

import numpy as np
import pandas as pd
import pytest

from models._calibration import Calibration
from models._curve import HORIZONS
from models._leaving import HORIZON
from models._phrases import phrase
from models._standing import Standing
from models._survival import FEATURES, Trees, Waits
from models.churn import TOP_CATEGORY, Cadence, Churn, ChurnConfig, ChurnHistory
from models.recency import Recency
from nextbest.columns import CONTACT_FEATURES
from nextbest.errors import NotReady

DAYS = 30.0


def world(count=1500, seed=0):
    """Contacts who leave the likelier the longer ago their last order by their own cadence."""
    random = np.random.default_rng(seed)
    gap = random.gamma(4.0, 5.0, count) + 1
    orders = 2.0 + random.poisson(5, count)
    recency = random.exponential(gap)
    frame = pd.DataFrame({"orders_total": orders, "order_gap_days": gap, "recency_days": recency})
    frame["recency_over_gap"] = recency / gap
    frame["spend_total"] = orders * 10
    frame["views_7d"] = random.random(count)
    chance = 1 / (1 + np.exp(-2 * (frame["recency_over_gap"] - 1.5)))
    return frame, (random.random(count) < chance.to_numpy()).astype(float)


def waits(frame, left, until=DAYS, seed=0):
    """Who stays orders within 30 days; nothing is seen after `until`."""
    came = np.random.default_rng(seed).uniform(0, DAYS, len(left))
    return Waits(frame, np.where(left > 0, np.inf, came), np.full(len(left), until))


def history(early, later, **told):
    return ChurnHistory(waits(*early), waits(*later), early[0], **told)


def config(days=DAYS, rounds=60, **told):
    return ChurnConfig(days, trees=Trees(rounds=rounds, rows_in_leaf=20), **told)


@pytest.fixture(scope="module")
def churn():
    return Churn.learn(history(world(seed=0), world(seed=1)), config(rounds=80))


def test_it_finds_who_leaves_and_how_likely(churn):
    frame, left = world(seed=2)
    p = churn.score(frame)["probability"].to_numpy()
    order = np.argsort(p)
    assert left[order[-150:]].mean() > 4 * left[order[:500]].mean()
    assert p.mean() == pytest.approx(left.mean(), abs=0.03)
    top = p > np.quantile(p, 0.8)
    assert p[top].mean() == pytest.approx(left[top].mean(), abs=0.06)


def test_bands_are_the_half_the_middle_and_the_fifth(churn):
    scores = churn.score(world(seed=1)[0])
    shares = scores["band"].value_counts(normalize=True)
    assert shares["low"] == pytest.approx(0.5, abs=0.03)
    assert shares["high"] == pytest.approx(0.2, abs=0.03)
    ordered = scores.sort_values("probability")
    assert (ordered["percentile"].diff().dropna() >= 0).all()
    assert ordered["percentile"].median() == pytest.approx(50, abs=2)


def test_drivers_name_the_cause_in_words(churn):
    frame = pd.DataFrame({"orders_total": [5.0, 5.0, 0.0], "recency_days": [90.0, 1.0, np.nan]})
    frame["order_gap_days"] = 15.0
    frame["recency_over_gap"] = frame["recency_days"] / 15.0
    gone, here, never = churn.drivers(frame, 3)
    assert never == []
    assert len(gone) == len(here) == 3
    assert {"recency_over_gap", "recency_days", "p_alive", "p_no_order", "expected_orders"} & {
        d.feature for d in gone
    }
    assert gone[0].contribution > 0 > here[0].contribution
    assert all(d.feature in FEATURES and d.phrase for d in (*gone, *here))
    assert abs(gone[0].contribution) >= abs(gone[2].contribution)


def test_rows_with_nothing_but_an_order_are_scored(churn):
    scores = churn.score(pd.DataFrame({"orders_total": [1.0], "recency_days": [3.0]}))
    assert scores["source"].tolist() == ["churn"]
    assert 0 <= scores["probability"][0] <= 1


def test_contacts_without_orders_have_no_answer(churn):
    scores = churn.score(pd.DataFrame({"views_7d": [3.0]}))
    assert scores["probability"].isna().all()
    assert scores[["band", "source"]].to_numpy().tolist() == [["unknown", "not_enough_data"]]


def test_too_few_contacts_and_one_outcome_are_said():
    frame, left = world(150)
    with pytest.raises(NotReady, match="150 rows for training"):
        Churn.learn(history((frame, left), (frame, left)), config())
    frame, left = world(300)
    with pytest.raises(NotReady, match="every contact in calibration stayed"):
        Churn.learn(history((frame, left), (frame, left * 0)), config())


def test_without_repeat_buyers_it_learns_without_the_value_model():
    frame, _ = world(400)
    frame = frame.assign(orders_total=1.0, order_gap_days=np.nan, recency_over_gap=np.nan)
    left = (frame["recency_days"] > frame["recency_days"].median()).astype(float).to_numpy()
    model = Churn.learn(history((frame, left), (frame, left)), config(rounds=20))
    assert model.survival.value is None
    assert model.score(frame)["probability"].notna().all()


# --- horizons


def test_the_horizon_asked_for_is_answered_row_by_row(churn):
    frame, _ = world(60, seed=3)
    own = churn.score(frame)
    assert (own[HORIZON] == DAYS).all()
    asked = churn.score(frame.assign(**{HORIZON: [7.0, 90.0, np.nan] * 20}))
    assert asked[HORIZON].tolist() == [7.0, 90.0, DAYS] * 20
    p, plain = asked["probability"].to_numpy(), own["probability"].to_numpy()
    np.testing.assert_array_equal(p[2::3], plain[2::3])
    assert (p[0::3] >= plain[0::3]).all()
    assert (p[1::3] <= plain[1::3]).all()
    assert (p[0::3] > plain[0::3]).any()


def test_a_cadence_is_drawn_to_the_categorys_and_rounded_up():
    cadence = Cadence(usual_gap=20.0, category_gaps={"milk": 5.0, "beds": 300.0})
    frame = pd.DataFrame(
        {
            "orders_total": [1.0, 3.0, 1.0, 9.0, 1.0, 0.0],
            "order_gap_days": [np.nan, 8.0, np.nan, 8.0, np.nan, np.nan],
            TOP_CATEGORY: ["milk", "milk", "beds", "milk", "unheard of", None],
        }
    )
    # as many gaps as the contact has, beside two of the category's
    expected = [5.0, (2 * 8 + 2 * 5) / 4, 300.0, (8 * 8 + 2 * 5) / 10, 20.0, 20.0]
    np.testing.assert_allclose(cadence.days(frame), expected)
    # three of them, rounded up to a rung: 15, 19.5, 900, 22.2, 60, 60
    assert cadence.horizons(frame).tolist() == [30.0, 30.0, 365.0, 30.0, 60.0, 60.0]
    alone = cadence.days(frame.drop(columns=TOP_CATEGORY))
    np.testing.assert_allclose(alone[[0, 2, 4]], 20.0)


def test_a_cadence_is_learned_from_the_contact_in_the_middle():
    frame = pd.DataFrame({"order_gap_days": [1.0, np.nan, 12.0, 100.0]})
    assert Cadence.learn(frame, {}, ChurnConfig()).usual_gap == 12.0
    assert Cadence.learn(frame[1:2], {}, ChurnConfig()).usual_gap in HORIZONS


def test_by_cadence_each_contact_has_its_own_horizon(tmp_path):
    told = config(None, rounds=20, gaps=2.0)
    model = Churn.learn(history(world(seed=0), world(seed=1), category_gaps={"milk": 3.0}), told)
    frame, _ = world(80, seed=4)
    scores = model.score(frame.assign(**{TOP_CATEGORY: "milk"}))
    assert scores[HORIZON].nunique() > 1
    assert set(scores[HORIZON]) <= set(HORIZONS)
    np.testing.assert_array_equal(scores[HORIZON], model.cadence.horizons(frame.assign(top_category="milk")))
    assert (model.score(frame)[HORIZON] >= scores[HORIZON]).all()
    again = Churn.load(saved(model, tmp_path))
    pd.testing.assert_frame_equal(again.score(frame), model.score(frame))


def test_the_same_each_time_and_after_saving(churn, tmp_path):
    frame, _ = world(200, seed=5)
    again = Churn.load(saved(churn, tmp_path))
    pd.testing.assert_frame_equal(again.score(frame), churn.score(frame))
    pd.testing.assert_frame_equal(again.next_order(frame), churn.next_order(frame))
    assert again.drivers(frame) == churn.drivers(frame)
    twice = Churn.learn(history(world(seed=0), world(seed=1)), config(rounds=80))
    pd.testing.assert_frame_equal(twice.score(frame), churn.score(frame))


def looked_at_longer(early, later):
    """The contacts of both windows, some of whom order again after the windows have ended."""
    frame = pd.concat([later.frame, early.frame], ignore_index=True)
    days = np.concatenate([later.days, early.days])
    late = np.random.default_rng(9).uniform(DAYS, 200.0, len(days))
    return Waits(frame, np.where(np.isinf(days) & (late < 120.0), late, days), np.full(len(days), 120.0))


def test_a_horizon_within_the_windows_is_learned_once(churn):
    early, later = waits(*world(seed=0)), waits(*world(seed=1))
    whole = looked_at_longer(early, later)
    again = Churn.learn(ChurnHistory(early, later, early.frame, whole), config(rounds=80))
    frame, _ = world(300, seed=2)
    pd.testing.assert_frame_equal(again.score(frame), churn.score(frame))


def test_a_horizon_longer_than_the_windows_is_learned_from_the_whole():
    early, later = waits(*world(seed=0)), waits(*world(seed=1))
    whole = looked_at_longer(early, later)
    told = config(90.0)
    model = Churn.learn(ChurnHistory(early, later, early.frame, whole), told)
    frame, left = world(seed=2)
    scores = model.score(frame)
    assert (scores[HORIZON] == 90.0).all()
    assert scores["probability"].mean() < left.mean() - 0.02
    # of calibration nobody was looked at for so long: how sure it is, is not known
    assert scores[["low", "high"]].isna().all(axis=None)
    asked = model.score(frame.assign(**{HORIZON: DAYS}))
    assert (asked["probability"] >= scores["probability"]).all()
    blind = Churn.learn(ChurnHistory(early, later, early.frame), told).score(frame)
    truth = left.mean() * np.mean(np.linspace(DAYS, 200.0, 1000) > 90.0)
    assert abs(scores["probability"].mean() - truth) < abs(blind["probability"].mean() - truth)


# --- interval and next order


def test_the_interval_holds_the_rate_of_contacts_scored_alike(churn):
    frame, left = world(20_000, seed=6)
    scores = churn.score(frame)
    low, p, high = (scores[name].to_numpy() for name in ("low", "probability", "high"))
    assert ((low <= p) & (p <= high)).all()
    assert ((low >= 0) & (high <= 1)).all()
    held = [
        low[part].mean() <= left[part].mean() <= high[part].mean()
        for part in np.array_split(np.argsort(p), 20)
    ]
    assert np.mean(held) >= 0.8
    assert (high - low).mean() < 0.2


def test_the_next_order_comes_between_its_ends(churn):
    frame, _ = world(seed=7)
    found = churn.next_order(frame, 30.0)
    known = found.dropna()
    assert len(known) > 300
    assert (known["low_days"] <= known["days"]).all()
    assert (known["days"] <= known["high_days"]).all()
    np.testing.assert_allclose(found["probability"], 1 - churn.score(frame)["probability"], atol=1e-9)
    # half of those who may be expected within d days are: the median is where the curve crosses a half
    near = found[found["days"] < 25].index
    asked = frame.loc[near].assign(**{HORIZON: found.loc[near, "days"]})
    assert churn.score(asked)["probability"].mean() == pytest.approx(0.5, abs=0.1)
    far = found[found["probability"] < 0.3]
    assert far["days"].isna().all() or far["days"].min() > 30
    nobody = churn.next_order(pd.DataFrame({"views_7d": [3.0]}))
    assert nobody.isna().all(axis=None)


def test_nothing_of_no_rows(churn):
    none = world(5)[0][:0]
    assert len(churn.score(none)) == len(churn.next_order(none)) == len(churn.drivers(none)) == 0


def saved(model, folder):
    model.save(folder)
    assert json.loads((folder / "churn.json").read_text())["config"]["gaps"] == model.config.gaps
    return folder


# --- words, and what stands beside it


def test_every_feature_has_words():
    for feature in (*CONTACT_FEATURES, *FEATURES):
        assert phrase(feature, 0.25)
        assert "unknown" in phrase(feature, float("nan"))
    assert phrase("recency_days", 44.7) == "last order 45 days ago"
    assert phrase("orders_30d", 1.26) == "orders, counted over about 30 days: 1.3"
    assert phrase("points_total", 3.0) == "rule points in all: 3.0"


def test_recency_rises_and_wants_two_orders():
    frame, left = world()
    model = Recency.learn(frame, left)
    scores = model.score(
        pd.DataFrame(
            {"orders_total": [3.0, 3.0, 1.0], "recency_days": [2.0, 60.0, 5.0], "order_gap_days": [10.0] * 3}
        )
    )
    assert scores["probability"][0] < 0.2 < 0.7 < scores["probability"][1]
    assert scores["source"].tolist() == ["recency", "recency", "not_enough_data"]
    with pytest.raises(NotReady, match="0 contacts have a cadence"):
        Recency.learn(frame.assign(orders_total=1.0), left)


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_calibration_undoes_a_bent_scale(method):
    random = np.random.default_rng(1)
    truth = random.random(20_000)
    labels = (random.random(20_000) < truth).astype(float)
    odds = truth / (1 - truth)
    bent = odds**0.4 / (1 + odds**0.4)
    curve = Calibration.learn(bent, labels, 0, method)
    assert np.abs(curve.of(bent) - truth).mean() < 0.02
    assert (np.diff(curve.of(np.linspace(0, 1, 50))) >= 0).all()
    again = Calibration.from_json(curve.to_json())
    assert (again.of(bent) == curve.of(bent)).all()


def test_calibration_takes_the_better_method_and_keeps_off_the_ends():
    scores = np.tile([0.2, 0.8], 300)
    steps = Calibration.learn(scores, (scores > 0.5).astype(float), 0)
    assert 0 < steps.of(np.array([0.0]))[0] < 0.05
    assert 0.95 < steps.of(np.array([1.0]))[0] < 1
    with pytest.raises(NotReady, match="both outcomes"):
        Calibration.learn(scores, np.ones(600), 0)


def test_standing_of_equal_probabilities_is_their_middle():
    standing = Standing.learn(np.array([0.1] * 50 + [0.9] * 50))
    low, high = standing.percentile(np.array([0.1, 0.9]))
    assert low == pytest.approx(25, abs=1)
    assert high == pytest.approx(75, abs=1)
    assert standing.percentile(np.array([0.0, 1.0])).tolist() == [0.0, 100.0]
    assert np.isnan(standing.percentile(np.array([np.nan]))[0])
