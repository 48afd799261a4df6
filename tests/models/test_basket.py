from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import _mining
from models.basket import Basket, BasketConfig, Baskets, confidence_low, mine
from nextbest.errors import BadInput, NotReady


def lines(baskets):
    """Return order_ids and item_ids of baskets written as words."""
    pairs = [(f"o{number}", item) for number, basket in enumerate(baskets) for item in basket]
    return Baskets.of([order for order, _ in pairs], [item for _, item in pairs])


def counted(baskets, least):
    """Count by brute force: (antecedent, consequent) -> baskets, the antecedent's, the consequent's."""
    sets = [set(basket) for basket in baskets]
    counts = Counter(
        frozenset(items)
        for basket in sets
        for size in (1, 2, 3)
        for items in combinations(sorted(basket), size)
    )
    return {
        (tuple(sorted(items - {out})), out): (count, counts[items - {out}], counts[frozenset({out})])
        for items, count in counts.items()
        if len(items) > 1 and count >= least
        for out in items
    }


def named(rules, item_ids):
    return {
        (tuple(str(item_ids[i]) for i in (row.a, row.b) if i >= 0), str(item_ids[row.consequent])): (
            row.baskets, row.antecedent_baskets, row.consequent_baskets,
        )
        for row in rules.itertuples()
    }  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=6), min_size=1, max_size=25),
    st.integers(1, 4),
    st.sampled_from([1, 7, 10_000]),
)
def test_counts_are_those_of_counting_by_hand_whatever_the_blocks(baskets, least, block):
    before, _mining.BLOCK = _mining.BLOCK, block
    try:
        data = lines(baskets)
        rules = mine(data, least)
    finally:
        _mining.BLOCK = before
    assert named(rules, data.item_ids) == counted(baskets, least)
    assert not rules.duplicated(["a", "b", "consequent"]).any()


def test_confidence_bounds_the_rules_by_their_length():
    data = lines(["ab", "ab", "abc", "a", "ac"])
    pairs = named(mine(data, 1, (0.5,)), data.item_ids)
    assert set(pairs) == {(("a",), "b"), (("b",), "a"), (("c",), "a"), (("c",), "b")}
    both = named(mine(data, 1, (1.0, 0.5)), data.item_ids)
    assert set(both) == {(("b",), "a"), (("c",), "a"), (("a", "c"), "b"), (("b", "c"), "a")}


def test_measures_are_their_definitions():
    model = Basket.learn(lines(["ab"] * 6 + ["a"] * 2 + ["b"] * 2 + ["c"] * 10), BasketConfig(min_baskets=2))
    (rule,) = model.bought_together(["a"], 5)
    assert (rule.antecedent, rule.consequent) == (("a",), "b")
    assert (rule.baskets, rule.antecedent_baskets, rule.consequent_baskets, rule.total_baskets) == (
        6,
        8,
        8,
        20,
    )
    assert rule.support == pytest.approx(6 / 20)
    assert rule.confidence == pytest.approx(6 / 8)
    assert rule.lift == pytest.approx(0.75 / 0.4)
    assert rule.leverage == pytest.approx(0.3 - 0.4 * 0.4)


def test_much_evidence_outranks_little():
    baskets = ["ab"] * 80 + ["a"] * 20 + ["ac"] * 3 + ["c"] * 0 + ["x"] * 400 + ["b"] * 60 + ["y"] * 40
    model = Basket.learn(lines(baskets), BasketConfig(min_baskets=2, lift_weight=0.0))
    assert [rule.consequent for rule in model.bought_together(["a"], 2)] == ["b", "c"]
    assert [rule.consequent for rule in model.bought_together(["c"], 2)] == ["a"]
    assert confidence_low(3, 3) < confidence_low(300, 310)


def test_two_antecedents_are_found_and_a_consequent_comes_once():
    model = Basket.learn(
        lines(["abc"] * 20 + ["a"] * 40 + ["b"] * 40 + ["d"] * 100), BasketConfig(min_baskets=2)
    )
    (rule,) = model.bought_together(["a", "b", "unheard of"], 5)
    assert (rule.antecedent, rule.consequent, rule.confidence) == (("a", "b"), "c", 1.0)
    assert Basket.learn(lines(["abc"] * 20 + ["d"] * 100), BasketConfig(length=2)).rules["b"].max() == -1


def test_what_is_bought_together_no_more_often_than_by_chance_is_no_rule():
    model = Basket.learn(lines(["ab", "a", "b", ""] * 25 + ["cd"] * 9), BasketConfig(min_baskets=2))
    assert model.bought_together(["a"], 5) == []
    assert model.bought_together(["c"], 5)


def test_neighbours_add_up_and_leave_out_what_is_given(make_shopper, make_catalogue):
    model = Basket.learn(lines(["ax", "bx", "ay", "ab"] * 5 + ["z"] * 60), BasketConfig(min_baskets=2))
    items, scores = model.neighbours(["a", "b"], 5)
    assert items == ["x", "y"]
    assert scores[0] > scores[1] > 0
    assert model.neighbours(["z", "unheard of"], 5)[0] == []
    shelf = make_catalogue({"x": {}, "y": {}})
    shopper = make_shopper({"a": [1], "b": [2]})
    ranking = model.recommend(shopper, shelf, 5)
    assert ranking.item_ids == ["x", "y"]
    assert {reason.because["item_id"] for reason in ranking.reasons} <= {"a", "b"}
    assert model.recommend(shopper, make_catalogue({"y": {}}), 5).item_ids == ["y"]
    assert model.recommend(shopper, shelf, 1, ["z"]).item_ids == []


def test_few_baskets_ask_for_less_evidence():
    assert [BasketConfig().least(n) for n in (30, 1_000, 5_000, 10**6)] == [2, 2, 10, 10]
    assert BasketConfig(min_baskets=4).least(30) == 4


def test_baskets_of_one_are_not_ready_and_wrong_options_are_named():
    with pytest.raises(NotReady, match="no two items lie together in 2 of the 3 baskets"):
        Basket.learn(lines(["a", "b", "c"]))
    with pytest.raises(BadInput, match="length is 5"):
        BasketConfig(length=5)
    with pytest.raises(BadInput, match="between 0 and 1"):
        BasketConfig(lift_weight=2)


def test_order_of_lines_changes_nothing():
    baskets = ["abc"] * 8 + ["ad"] * 5 + ["e"] * 20
    one, other = (Basket.learn(lines(b)) for b in (baskets, [b[::-1] for b in baskets[::-1]]))
    assert one.bought_together(["a"], 9) == other.bought_together(["a"], 9)
