import numpy as np
import pandas as pd
import pytest

from models._calibration import Calibration
from models._phrases import phrase
from models._standing import Standing
from models.churn import FEATURES, Churn, ChurnConfig, ChurnHistory
from models.recency import Recency
from nextbest.columns import CONTACT_FEATURES
from nextbest.errors import NotReady


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


@pytest.fixture(scope="module")
def churn():
    early, late = world(seed=0), world(seed=1)
    return Churn.learn(ChurnHistory(*early, *late, early[0]), ChurnConfig(rounds=80))


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
        Churn.learn(ChurnHistory(frame, left, frame, left, frame))
    frame, left = world(300)
    with pytest.raises(NotReady, match="every contact in calibration stayed"):
        Churn.learn(ChurnHistory(frame, left, frame, left * 0, frame))


def test_without_repeat_buyers_it_learns_without_the_value_model():
    frame, _ = world(400)
    frame = frame.assign(orders_total=1.0, order_gap_days=np.nan, recency_over_gap=np.nan)
    left = (frame["recency_days"] > frame["recency_days"].median()).astype(float).to_numpy()
    model = Churn.learn(ChurnHistory(frame, left, frame, left, frame), ChurnConfig(rounds=20))
    assert model.value is None
    assert model.score(frame)["probability"].notna().all()


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
