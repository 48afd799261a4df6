import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from models._association import chance, false_discovery, measures, mine, sizes
from models._mining import levels
from models.basket import Basket, BasketConfig, Baskets
from nextbest.errors import BadInput

GROCERIES = Path(__file__).parents[3] / "shared" / "data" / "groceries.csv"
DAY = 86_400.0


def lines(baskets, days=None):
    pairs = [(number, item) for number, basket in enumerate(baskets) for item in basket]
    times = None if days is None else [days[number] * DAY for number, _ in pairs]
    return Baskets.of([f"o{n}" for n, _ in pairs], [item for _, item in pairs], times)


@pytest.fixture(scope="module")
def groceries():
    if not GROCERIES.is_file():
        pytest.skip(f"{GROCERIES} is missing: R's arules Groceries, a basket a line")
    with GROCERIES.open(newline="") as file:
        return lines(list(csv.reader(file)))


def test_groceries_give_the_rules_arules_gives(groceries):
    rules = mine(groceries, math.ceil(0.001 * len(groceries)), (0.5,) * 5)
    assert np.bincount(sizes(rules))[1:].tolist() == [11, 1461, 3211, 939, 46]
    assert len(rules) == 5668
    assert len(mine(groceries, math.ceil(0.006 * len(groceries)), (0.25,) * 5)) == 463
    names = groceries.item_ids
    singles = rules[rules["b"] < 0]
    (honey,) = singles[
        (names[singles["a"]] == "honey") & (names[singles["consequent"]] == "whole milk")
    ].itertuples()
    support, confidence, lift, leverage, conviction = measures(
        honey.baskets, honey.antecedent_baskets, honey.consequent_baskets, len(groceries)
    )
    assert support == pytest.approx(0.001118454, abs=5e-10)
    assert confidence == pytest.approx(0.7333333, abs=5e-8)
    assert lift == pytest.approx(2.870009, abs=5e-7)
    milk = honey.consequent_baskets / len(groceries)
    assert leverage == pytest.approx(support - honey.antecedent_baskets / len(groceries) * milk)
    assert conviction == pytest.approx((1 - milk) / (1 - confidence))


def test_a_certain_rule_has_infinite_conviction():
    assert measures(5, 5, 20, 100)[4] == np.inf


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 400), st.data())
def test_chance_is_the_hypergeometric_tail(total, data):
    antecedent, consequent = (data.draw(st.integers(1, total)) for _ in range(2))
    most = min(antecedent, consequent)
    together = data.draw(st.integers(max(0, antecedent + consequent - total), most))
    by_hand = sum(
        math.comb(antecedent, k) * math.comb(total - antecedent, consequent - k)
        for k in range(together, most + 1)
    ) / math.comb(total, consequent)
    assert chance(together, antecedent, consequent, total) == pytest.approx(by_hand, rel=1e-8)
    assert chance(together, antecedent, consequent, total) == pytest.approx(
        hypergeom.sf(together - 1, total, antecedent, consequent)
    )


def test_q_is_that_of_benjamini_and_hochberg_over_all_hypotheses():
    p = np.array([0.01, 0.5, 0.001, 0.02])
    assert false_discovery(p, 4) == pytest.approx([0.02, 0.5, 0.004, 0.08 / 3])
    assert false_discovery(p, 400) == pytest.approx([1.0, 1.0, 0.4, 1.0])
    assert false_discovery(np.empty(0), 10).tolist() == []


def drawn(random, baskets=2_000, items=300, rate=0.01):
    """Return baskets of items that know nothing of each other, some rare and some common."""
    chances = rate * random.pareto(1.5, items).clip(0.1, 30)
    return [[f"i{n:03d}" for n in np.flatnonzero(random.random(items) < chances)] for _ in range(baskets)]


def test_of_what_is_bought_independently_practically_nothing_is_a_rule():
    kept, seen = [], []
    for seed in range(2):
        data = lines(drawn(np.random.default_rng(seed)))
        config = BasketConfig(min_baskets=2, min_confidence=0.0)
        seen.append(len(mine(data, 2)))
        kept.append(len(Basket.learn(data, config).rules))
    assert min(seen) > 1_000
    assert max(kept) <= 4


def test_planted_associations_all_survive_among_chance():
    random = np.random.default_rng(5)
    baskets = drawn(random)
    planted = [(f"p{n}", f"q{n}") for n in range(20)]
    for one, other in planted:
        for row in random.choice(len(baskets), 30, replace=False):
            baskets[row] += [one, other] if random.random() < 0.6 else [one]
    model = Basket.learn(lines(baskets), BasketConfig(length=2))
    for one, other in planted:
        assert other in [rule.consequent for rule in model.bought_together([one], 3)]
        (rule,) = (r for r in model.bought_together([other], 5) if r.consequent == one)
        assert 0 <= rule.p_value <= rule.q_value <= 0.05


def test_three_antecedents_are_found_within_the_items_asked_for():
    model = Basket.learn(
        lines(["abcd"] * 20 + ["abc"] * 2 + ["ab", "bc", "ac"] * 9 + ["a", "d"] * 30 + ["e"] * 200)
    )
    rules = model.bought_together(["c", "a", "x", "b"], 5)
    assert [(rule.antecedent, rule.consequent) for rule in rules] == [(("a", "b", "c"), "d")]
    assert (rules[0].baskets, rules[0].antecedent_baskets) == (20, 22)
    assert model.rules["c"].max() >= 0
    assert Basket.learn(lines(["abcd"] * 20 + ["e"] * 99), BasketConfig(length=3)).rules["c"].max() == -1


def test_decay_moves_confidence_and_lift_but_not_the_evidence():
    baskets = ["ab"] * 40 + ["a"] * 40 + ["c"] * 80
    days = [0] * 40 + [100] * 40 + [100] * 80  # a and b went together once, no longer
    plain = Basket.learn(lines(baskets), BasketConfig(length=2))
    (rule,) = plain.bought_together(["a"], 1)
    assert rule.confidence == pytest.approx(0.5)
    decayed = Basket.learn(lines(baskets, days), BasketConfig(length=2, half_life_days=100.0))
    (rule,) = decayed.bought_together(["a"], 1)
    assert (rule.baskets, rule.antecedent_baskets, rule.total_baskets) == (40, 80, 160)
    assert rule.confidence == pytest.approx(20 / 60)
    assert rule.lift == pytest.approx((20 / 60) / (20 / 140))
    weights = lines(baskets, days).decayed(100.0)
    assert weights.min() == pytest.approx(0.5)
    found = levels(lines(baskets, days), 1, 2, weights)
    assert found[1].weights.tolist() == pytest.approx([20.0])


def test_a_season_counts_its_months_only():
    baskets = ["ab"] * 20 + ["c"] * 40 + ["cd"] * 20 + ["a"] * 40
    days = [15] * 60 + [330] * 60  # January and November of 1970
    winter = Basket.learn(lines(baskets, days), BasketConfig(season="11, 12"))
    assert winter.total == 60
    assert winter.bought_together(["a"], 5) == []
    assert [rule.consequent for rule in winter.bought_together(["c"], 5)] == ["d"]
    whole = Basket.learn(lines(baskets, days), BasketConfig())
    assert [rule.consequent for rule in whole.bought_together(["a"], 5)] == ["b"]


@pytest.mark.parametrize(
    "wrong", [{"season": "13"}, {"season": "may"}, {"false_discovery": 0.0}, {"half_life_days": -1}]
)
def test_wrong_windows_and_rates_are_refused(wrong):
    with pytest.raises(BadInput):
        BasketConfig(**wrong)


def test_what_a_version_without_tests_saved_is_read(tmp_path):
    model = Basket.learn(lines(["ab"] * 20 + ["c"] * 40))
    model.save(tmp_path)
    (tmp_path / "retired.parquet").unlink()
    old = model.rules.drop(columns=["score", "c", "p_value", "q_value"])
    old.to_parquet(tmp_path / "rules.parquet", index=False)
    assert [r.consequent for r in Basket.load(tmp_path).bought_together(["a"], 5)] == ["b"]
