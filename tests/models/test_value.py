import numpy as np
import pandas as pd
import pytest

from models import _optimum
from models._bgnbd import BgNbd
from models._gamma_gamma import GammaGamma
from models.bgnbd import BgNbdChurn
from models.rate import Rate
from models.value import Value, ValueConfig
from nextbest.errors import NotReady

CDNOW = BgNbd(r=0.2426, alpha=4.4137, a=0.7930, b=2.4262)
"""Fader, Hardie & Lee (2005), weeks."""


def one(value):
    return np.array([float(value)])


def buyers(count, model, days, seed):
    """Simulate (x, t_x, T) of BG/NBD buyers."""
    random = np.random.default_rng(seed)
    rate, leave = random.gamma(model.r, 1 / model.alpha, count), random.beta(model.a, model.b, count)
    seen = random.uniform(days / 2, days, count)
    x, last = np.zeros(count), np.zeros(count)
    for row in range(count):
        at = 0.0
        while (at := at + random.exponential(1 / rate[row])) < seen[row]:
            x[row], last[row] = x[row] + 1, at
            if random.random() < leave[row]:
                break
    return x, last, seen


def frame_of(x, t_x, seen, spend=None):
    orders = x + 1
    gap = np.divide(t_x, x, out=np.full(len(x), np.nan), where=x > 0)
    worth = orders * 10.0 if spend is None else spend
    return pd.DataFrame(
        {"orders_total": orders, "recency_days": seen - t_x, "order_gap_days": gap, "spend_total": worth}
    )


def test_the_published_conditional_expectation():
    assert CDNOW.expected_orders(one(2), one(30.43), one(38.86), 39.0)[0] == pytest.approx(1.226, abs=5e-4)


def test_expectation_is_the_sum_of_the_distribution():
    random = np.random.default_rng(3)
    for logs in random.uniform([-2, -1, -4, -2], [2, 4, 3, 5], (40, 4)):
        model = BgNbd(*np.exp(logs))
        x = random.poisson(8, 20) * random.integers(0, 2, 20).astype(float)
        seen = random.uniform(1, 300, 20)
        t_x = np.where(x > 0, seen * random.uniform(0, 1, 20), 0.0)
        summed = sum(model.p_at_least(n, x, t_x, seen, 30.0) for n in range(1, 400))
        expected = model.expected_orders(x, t_x, seen, 30.0)
        kept = summed > 1e-9
        np.testing.assert_allclose(expected[kept], summed[kept], rtol=2e-3)


def test_no_order_within_the_horizon_agrees_with_simulation():
    model = BgNbd(1.5, 20.0, 0.8, 3.0)
    # everybody at day 60, and who orders in the ten days after
    random = np.random.default_rng(12)
    rate, leave = random.gamma(1.5, 1 / 20.0, 20_000), random.beta(0.8, 3.0, 20_000)
    orders = [[0.0] for _ in range(20_000)]
    for row in range(20_000):
        at = 0.0
        while (at := at + random.exponential(1 / rate[row])) < 70:
            orders[row].append(at)
            if random.random() < leave[row]:
                break
    before = np.array([sum(t <= 60 for t in times) - 1 for times in orders], dtype=float)
    last = np.array([max(t for t in times if t <= 60) for times in orders])
    after = np.array([any(t > 60 for t in times) for times in orders])
    predicted = model.p_none(before, last, np.full(20_000, 60.0), 10.0)
    assert predicted.mean() == pytest.approx(1 - after.mean(), abs=0.01)
    low = predicted < np.quantile(predicted, 0.3)
    assert predicted[low].mean() == pytest.approx(1 - after[low].mean(), abs=0.02)


def test_parameters_are_recovered_from_simulated_buyers():
    truth = BgNbd(0.8, 15.0, 0.6, 2.5)
    x, t_x, seen = buyers(6000, truth, 400, 1)
    found = BgNbd.fit(x, t_x, seen)
    assert found.log_likelihood(x, t_x, seen) >= truth.log_likelihood(x, t_x, seen)
    assert found.r == pytest.approx(truth.r, rel=0.12)
    assert found.alpha == pytest.approx(truth.alpha, rel=0.15)
    assert found.a / (found.a + found.b) == pytest.approx(truth.a / (truth.a + truth.b), rel=0.15)


def test_the_unit_of_time_is_nothing():
    x, t_x, seen = buyers(800, BgNbd(1.0, 10.0, 0.5, 2.0), 150, 2)
    days, weeks = BgNbd.fit(x, t_x, seen), BgNbd.fit(x, t_x / 7, seen / 7)
    assert days.alpha == pytest.approx(weeks.alpha * 7, rel=1e-3)
    assert days.r == pytest.approx(weeks.r, rel=1e-3)


def test_buyers_who_never_leave_converge_too():
    random = np.random.default_rng(4)
    seen = random.uniform(100, 200, 500)
    x = random.poisson(random.gamma(2.0, 0.05, 500) * seen).astype(float)
    t_x = np.where(x > 0, seen - random.exponential(10, 500).clip(0, 50), 0.0)
    found = BgNbd.fit(x, t_x, seen)
    assert found.p_alive(x, t_x, seen).mean() > 0.95


def test_hundreds_of_orders_stay_in_range():
    x, t_x, seen = one(400), one(364), one(365)
    assert BgNbd(1.2, 6.6, 0.2, 239.0).expected_orders(x, t_x, seen, 30.0)[0] == pytest.approx(32, abs=2)


def test_gamma_gamma_recovers_its_parameters_and_draws_towards_everyone():
    random = np.random.default_rng(6)
    x = random.integers(1, 12, 6000).astype(float)
    scale = random.gamma(3.7, 1 / 15.0, 6000)
    mean = random.gamma(6.2 * x, 1 / scale) / x
    found = GammaGamma.fit(x, mean)
    assert found.q == pytest.approx(3.7, rel=0.1)
    assert found.p * found.v == pytest.approx(6.2 * 15.0, rel=0.1)
    everyone = found.p * found.v / (found.q - 1)
    assert found.expected_value(one(0), one(np.nan))[0] == pytest.approx(everyone)
    few, many = (found.expected_value(one(n), one(everyone * 3))[0] for n in (1, 50))
    assert everyone < few < many < everyone * 3


def test_a_frame_is_read_and_intervals_hold_the_expectation():
    x, t_x, seen = buyers(1500, BgNbd(1.0, 10.0, 0.5, 3.0), 200, 8)
    frame = frame_of(x, t_x, seen)
    model = Value.learn(frame, ValueConfig(horizon_days=30.0))
    scores = model.score(frame)
    assert (scores["orders_low"] <= np.ceil(scores["expected_orders"])).all()
    assert scores["orders_high"].mean() > scores["expected_orders"].mean()
    assert scores["order_value"].to_numpy() == pytest.approx(10.0, rel=0.02)
    assert (scores["expected_spend"] == scores["expected_orders"] * scores["order_value"]).all()
    waits = scores["next_order_days"].dropna()
    assert (waits > 0).all()


def test_contacts_without_orders_get_no_answer():
    x, t_x, seen = buyers(300, BgNbd(1.0, 10.0, 0.5, 3.0), 200, 8)
    model = Value.learn(frame_of(x, t_x, seen))
    scores = model.score(
        pd.DataFrame({"orders_total": [0.0, np.nan, 1.0], "recency_days": [np.nan, np.nan, 5.0]})
    )
    assert scores["source"].tolist() == ["not_enough_data", "not_enough_data", "value"]
    assert scores["p_alive"].isna().tolist() == [True, True, False]


def test_without_prices_spend_is_unknown_and_the_rest_works():
    x, t_x, seen = buyers(400, BgNbd(1.0, 10.0, 0.5, 3.0), 200, 8)
    scores = Value.learn(frame_of(x, t_x, seen, spend=np.zeros(400))).score(frame_of(x, t_x, seen))
    assert scores["expected_spend"].isna().all()
    assert scores["expected_orders"].notna().all()


def test_too_few_repeat_buyers_is_said():
    x, t_x, seen = np.zeros(100), np.zeros(100), np.full(100, 30.0)
    with pytest.raises(NotReady, match="0 contacts have ordered at least twice"):
        Value.learn(frame_of(x, t_x, seen))


def test_fitting_is_the_same_each_time():
    x, t_x, seen = buyers(500, BgNbd(1.0, 10.0, 0.5, 2.0), 150, 9)
    assert BgNbd.fit(x, t_x, seen) == BgNbd.fit(x, t_x, seen)


def test_as_a_churn_model_it_says_p_no_order():
    x, t_x, seen = buyers(500, BgNbd(1.0, 10.0, 0.5, 2.0), 150, 9)
    frame = frame_of(x, t_x, seen)
    churn = BgNbdChurn.learn(frame)
    scores = churn.score(frame)
    assert (scores["probability"] == churn.value.score(frame)["p_no_order"]).all()
    assert set(scores["band"]) == {"low", "medium", "high"}


def test_the_past_rate_goes_on():
    frame = pd.DataFrame(
        {
            "orders_total": [4.0, 1.0, 0.0],
            "recency_days": [10.0, 1.0, np.nan],
            "order_gap_days": [10.0, np.nan, np.nan],
            "spend_total": [80.0, 7.0, 0.0],
        }
    )
    scores = Rate(30.0).score(frame)
    assert scores["expected_orders"].tolist()[:2] == [4 * 30 / 40, 30 / 7]
    assert scores["expected_spend"].tolist()[0] == 60.0
    assert scores["source"].tolist()[2] == "not_enough_data"


# --- any data set converges, or it is said why not


KINDS = ("plain", "equal amounts", "everyone leaves", "nobody leaves", "an order a day", "few at once")


def odd(kind, seed):
    """Simulate x, t_x, T, orders and their mean of 50-300 repeat buyers, days and money on any scale."""
    random = np.random.default_rng(seed)
    repeat = int(random.integers(50, 300))
    count = int(repeat * random.uniform(2, 4))
    days, money = 10 ** random.uniform(-1, 4), 10 ** random.uniform(-2, 6)
    seen = random.uniform(days / 3, days, count)
    rate = random.gamma(random.uniform(0.3, 3), 1, count) * random.uniform(1, 10) / days
    leave = random.beta(random.uniform(0.2, 2), random.uniform(1, 5), count)
    leave = {"everyone leaves": np.ones(count), "nobody leaves": np.zeros(count)}.get(kind, leave)
    if kind == "an order a day":
        seen = np.floor(random.uniform(2, 60, count))
        x, t_x = seen.copy(), seen.copy()
    elif kind == "few at once":
        x = random.integers(0, 3, count).astype(float)
        t_x = np.where(x > 0, 1e-3 * seen, 0.0)
    else:
        at, here, x, t_x = np.zeros(count), np.arange(count), np.zeros(count), np.zeros(count)
        while len(here):
            at[here] += random.exponential(1 / rate[here])
            here = here[at[here] < seen[here]]
            x[here], t_x[here] = x[here] + 1, at[here]
            here = here[random.random(len(here)) >= leave[here]]
    held = np.concatenate([np.flatnonzero(x > 0)[:repeat], np.flatnonzero(x == 0)[: count - repeat]])
    x, t_x, seen = x[held], t_x[held], seen[held]
    p, q = random.uniform(0.5, 8), random.uniform(1.5, 6)
    mean = random.gamma(p * (x + 1), 1 / random.gamma(q, 1 / money, len(x))) / (x + 1)
    return x, t_x, seen, np.full(len(x), money) if kind == "equal amounts" else mean


@pytest.mark.parametrize("kind", KINDS)
def test_it_converges_on_any_data_set_or_says_why_not(kind):
    for seed in range(10):
        x, t_x, seen, mean = odd(kind, seed)
        assert 50 <= (x > 0).sum() <= 300
        often = BgNbd.fit(x, t_x, seen)
        start = BgNbd(1.0, float(seen.mean()), 1.0, 1.0)
        assert often.log_likelihood(x, t_x, seen) >= start.log_likelihood(x, t_x, seen)
        for ahead in (0.01, 1.0, 10.0):
            expected = often.expected_orders(x, t_x, seen, ahead * seen.mean())
            none = often.p_none(x, t_x, seen, ahead * seen.mean())
            assert np.isfinite(expected).all()
            assert (expected >= 0).all()
            assert ((none >= 0) & (none <= 1)).all()
            assert (expected + 1e-9 >= 1 - none).all()  # an expectation is no less than its chance
        worth = GammaGamma.fit(x + 1, mean)
        value = worth.expected_value(x + 1, mean)
        assert (value > 0).all()
        everyone = worth.p * worth.v / (worth.q - 1)
        between = np.sort(np.stack([mean, np.full(len(mean), everyone)]), axis=0) * [[1 - 1e-9], [1 + 1e-9]]
        assert ((value >= between[0]) & (value <= between[1])).all()
        if kind == "equal amounts":
            np.testing.assert_allclose(value, mean, rtol=1e-3)
        if kind == "nobody leaves":
            assert often.p_alive(x, t_x, seen).mean() > 0.9


def test_where_the_likelihood_still_rises_it_says_so(monkeypatch):
    monkeypatch.setitem(_optimum._OPTIONS, "maxiter", 1)
    x, t_x, seen, mean = odd("plain", 0)
    for fit, asked in ((BgNbd.fit, (x, t_x, seen)), (GammaGamma.fit, (x + 1, mean))):
        with pytest.raises(NotReady, match=r"did not converge on \d+ contacts.*more contacts"):
            fit(*asked)


def test_the_unit_of_money_is_nothing():
    x, _, _, mean = odd("plain", 3)
    coins, notes = GammaGamma.fit(x + 1, mean * 100), GammaGamma.fit(x + 1, mean)
    assert (coins.p, coins.q, coins.v) == pytest.approx((notes.p, notes.q, notes.v * 100), rel=1e-4)
