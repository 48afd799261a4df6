import pytest

from models.alternatives import alternatives, leaves, like_viewed

ITEMS = {
    "whole": {"category": "food/milk/cow", "price": 1.0},
    "half": {"category": "food/milk/cow", "price": 1.1},
    "dear": {"category": "food/milk/cow", "price": 3.0},
    "oat": {"category": "food/milk/plant", "price": 1.0},
    "rye": {"category": "food/bread", "price": 1.0},
    "soap": {"category": "care", "price": 1.0},
    "comb": {"category": "care", "price": 2.0},
    "thing": {"category": None, "price": 1.0},
    **{f"tool{n}": {"category": "tools/hand", "price": 9.0} for n in range(4)},
}


@pytest.fixture(scope="module")
def shelf(make_catalogue):
    return make_catalogue(ITEMS)


def test_the_same_category_comes_first_then_the_one_above_by_price(shelf):
    found = alternatives(shelf, "whole", 9)
    assert found.item_ids == ["half", "dear", "oat"]
    assert (found.scores[:-1] >= found.scores[1:]).all()
    assert found.reasons[0].kind == "similar_to"
    assert found.reasons[0].because == {"item_id": "whole", "category": "food/milk/cow", "price_ratio": 1.1}
    assert found.reasons[2].because == {"item_id": "whole", "category": "food/milk", "price_ratio": 1.0}


def test_company_outweighs_a_little_price(shelf):
    found = alternatives(shelf, "whole", 2, {"dear": 0.9, "half": -0.2, "soap": 1.0})
    assert found.item_ids == ["dear", "half"]
    assert found.reasons[0].because["cosine"] == 0.9


def test_nothing_stands_for_what_has_no_category_or_is_unknown(shelf):
    assert len(alternatives(shelf, "thing", 5)) == len(alternatives(shelf, "nothing", 5)) == 0


def test_a_price_nobody_knows_speaks_neither_way(make_catalogue):
    items = {"a": {"price": 2.0}, "b": {"price": None, "mean_price": None}, "c": {"price": 2.0}}
    items = {item: {"category": "x", **told} for item, told in items.items()}
    shelf = make_catalogue(items | {f"o{n}": {"category": "y"} for n in range(9)})
    found = alternatives(shelf, "a", 5)
    assert found.item_ids == ["c", "b"]
    assert found.reasons[1].because["price_ratio"] is None


def test_leaves_are_where_items_stand_for_each_other(shelf, make_catalogue):
    assert leaves(shelf, ["whole", "soap", "thing", "unknown"]) == {"food/milk/cow", "care"}
    assert leaves(make_catalogue({"a": {}, "b": {}}), ["a"]) == frozenset(), "all items in one say nothing"


def test_likes_of_what_was_seen_in_turn_and_never_what_was_seen(shelf, make_shopper):
    found = like_viewed(make_shopper(viewed=["soap", "whole", "unknown"]), shelf, 3)
    assert found.item_ids == ["comb", "half", "dear"]
    assert [reason.because["item_id"] for reason in found.reasons] == ["soap", "whole", "whole"]
    assert {reason.kind for reason in found.reasons} == {"because_you_viewed"}
    assert "half" not in like_viewed(make_shopper(viewed=["whole", "half"]), shelf, 9).item_ids
    assert len(like_viewed(make_shopper(), shelf, 3)) == 0


def test_of_two_as_alike_the_one_that_sells_comes_first(make_catalogue):
    shelf = make_catalogue(
        {
            "a": {"category": "x"},
            "slow": {"category": "x", "sold_90d": 0.1},
            "sold": {"category": "x", "price": 1.2, "sold_90d": 80.0},
            **{f"o{n}": {"category": "y"} for n in range(9)},
        }
    )
    assert alternatives(shelf, "a", 2).item_ids == ["sold", "slow"]
