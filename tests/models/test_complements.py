import pytest

from models.basket import Basket, BasketConfig, Baskets
from models.complements import STRONG_LIFT, complements

BASKETS = (
    ["bread butter"] * 12 + ["bread jam"] * 9 + ["butter jam"] * 9 + ["bread cheese"] * 14
    + ["milk oatmilk"] * 4 + ["milk"] * 30 + ["oatmilk"] * 30 + ["salt", "pepper", "soap"] * 15
    + ["tea sugar", "tea mint"] * 4 + ["mint sugar"] * 1
)  # fmt: skip


@pytest.fixture(scope="module")
def basket():
    pairs = [(f"o{n}", item) for n, basket in enumerate(BASKETS) for item in basket.split()]
    data = Baskets.of([order for order, _ in pairs], [item for _, item in pairs])
    return Basket.learn(data, BasketConfig(min_baskets=2))


@pytest.fixture(scope="module")
def shelf(make_catalogue):
    path = {"bread": "food/bread", "butter": "food/fat", "jam": "food/sweet", "cheese": "food/cheese"}
    items = sorted({item for basket in BASKETS for item in basket.split()})
    return make_catalogue({item: {"category": path.get(item, f"x/{item}")} for item in items})


def test_what_goes_with_several_items_comes_before_what_goes_with_one(basket, shelf):
    assert complements(basket, shelf, ["bread"], 3).item_ids[0] == "cheese"
    found = complements(basket, shelf, ["bread", "butter"], 3)
    assert found.item_ids == ["jam", "cheese"]
    assert (found.scores[:-1] > found.scores[1:]).all()
    assert found.source == "basket"
    for reason in found.reasons:
        assert reason.kind == "bought_together"
        assert reason.because["item_id"] in ("bread", "butter")
        assert reason.because["lift"] > 1


def test_what_stands_for_an_item_needs_a_strong_rule(basket, shelf):
    lift = complements(basket, shelf, ["bread"], 1).reasons[0].because["lift"]
    assert 1 < lift < STRONG_LIFT
    assert "cheese" not in complements(basket, shelf, ["bread"], 3, {"food/cheese"}).item_ids
    strong = complements(basket, shelf, ["tea"], 3, {"x/sugar", "x/mint"})
    assert set(strong.item_ids) == {"sugar", "mint"}
    assert all(reason.because["lift"] >= STRONG_LIFT for reason in strong.reasons)


def test_nothing_goes_with_what_is_unknown_or_gone(basket, shelf, make_catalogue):
    assert len(complements(basket, shelf, ["caviar"], 3)) == 0
    assert len(complements(basket, make_catalogue({"soap": {}}), ["bread", "butter"], 3)) == 0
