import pytest

from models._categories import at_level, category_rules, within
from models.basket import Baskets

PATHS = {"milk": "food/dairy", "curd": "food/dairy", "bread": "food/bakery", "soap": "home/bath", "odd": ""}


def lines(baskets):
    pairs = [(f"o{number}", item) for number, basket in enumerate(baskets) for item in basket]
    data = Baskets.of([order for order, _ in pairs], [item for _, item in pairs])
    return data, [PATHS[item] for item in data.item_ids]


def test_a_category_counts_once_a_basket_and_baskets_stay_as_many():
    data, paths = lines([["milk", "curd", "bread"], ["milk", "milk"], ["odd"], ["odd"]])
    level = at_level(data, paths, 2)
    assert len(level) == 4
    assert sorted(zip(level.basket.tolist(), level.item_ids[level.item], strict=True)) == [
        (0, "food/bakery"),
        (0, "food/dairy"),
        (1, "food/dairy"),
    ]
    assert set(at_level(data, paths, 1).item_ids) == {"", "food"}


def test_rules_between_categories():
    baskets = [["milk", "bread"]] * 15 + [["curd", "bread"]] * 15 + [["soap"]] * 40 + [["milk"]] * 10
    rules = category_rules(*lines(baskets), level=2, least=2)
    assert rules[["antecedent", "consequent"]].to_numpy().tolist() == [
        ["food/bakery", "food/dairy"],
        ["food/dairy", "food/bakery"],
    ]
    assert rules["baskets"].tolist() == [30, 30]
    assert rules["confidence"].tolist() == pytest.approx([1.0, 0.75])
    assert rules["lift"].tolist() == pytest.approx([80 / 40, 80 / 40])
    assert (rules["q_value"] < 0.001).all()


def test_a_category_with_itself():
    baskets = [["milk", "curd"]] * 3 + [["milk"]] * 3 + [["soap"], ["bread", "soap"]] * 5
    table = within(*lines(baskets), level=2).set_index("category")
    dairy = table.loc["food/dairy"]
    assert (dairy["baskets"], dairy["with_second"]) == (6, 3)
    assert dairy["confidence"] == pytest.approx(0.5)
    assert dairy["lift"] == pytest.approx(0.5 / (6 / 16))
    # 9 of 24 lines; where dairy has company at all, the company is dairy
    assert dairy["lift_given_sizes"] == pytest.approx(1.0 / (8 / 23))
    assert table.loc["home/bath", "lift"] == 0.0
    assert table.loc["home/bath", "lift_given_sizes"] == 0.0
