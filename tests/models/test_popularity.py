import pytest

from models.base import Reason
from models.popularity import Popularity, PopularityConfig
from nextbest.errors import BadInput


@pytest.fixture(scope="module")
def catalogue(make_catalogue):
    sold = {"milk": ("food/dairy/fresh", 9.0), "butter": ("food/dairy", 3.0), "bread": ("food/bakery", 6.0)}
    sold |= {"soap": ("home/bath", 5.0), "jam": ("food/spread", 5.0)}
    return make_catalogue({i: {"category": c, "sold_90d": n, "sold_7d": 0.1} for i, (c, n) in sold.items()})


def test_overall_ranks_by_what_sold_and_breaks_ties_by_id(catalogue, make_shopper):
    ranking = Popularity().recommend(make_shopper(), catalogue, 4)
    assert ranking.item_ids == ["milk", "bread", "jam", "soap"]
    assert ranking.scores.tolist() == pytest.approx([9 / 28, 6 / 28, 5 / 28, 5 / 28])
    assert {reason.kind for reason in ranking.reasons} == {"popular"}


def test_categories_come_from_the_context_before_the_shopper(catalogue, make_shopper):
    model = Popularity(PopularityConfig("category"))
    shopper = make_shopper(categories=[("home/bath", 2.0)])
    assert model.recommend(shopper, catalogue, 1).item_ids == ["soap"]
    ranking = model.recommend(shopper, catalogue, 3, ["butter"])
    assert ranking.item_ids == ["milk", "butter", "bread"]
    assert ranking.reasons[0] == Reason("popular_in", {"category": "food/dairy"})
    assert ranking.reasons[2].kind == "popular"
    assert (ranking.scores[1:] <= ranking.scores[:-1]).all()


def test_affinity_weighs_the_categories(catalogue, make_shopper):
    model = Popularity(PopularityConfig("category"))
    shopper = make_shopper(categories=[("food/bakery", 3.0), ("food/dairy", 1.0)])
    assert model.recommend(shopper, catalogue, 3).item_ids == ["bread", "milk", "butter"]


def test_nothing_known_is_what_sells_overall(catalogue, make_shopper):
    ranking = Popularity(PopularityConfig("category")).recommend(make_shopper(), catalogue, 2, ["unknown"])
    assert ranking.item_ids == ["milk", "bread"]


def test_trending_is_the_rise_not_the_height(make_catalogue, make_shopper):
    steady = {"sold_90d": 900.0, "sold_7d": 70.0}
    rising = {"sold_90d": 90.0, "sold_7d": 40.0, "category": "toys/x/y"}
    once = {"sold_90d": 0.9, "sold_7d": 0.9}
    shelf = make_catalogue({"steady": steady, "rising": rising, "once": once})
    ranking = Popularity(PopularityConfig("trending")).recommend(make_shopper(), shelf, 3)
    assert ranking.item_ids == ["rising", "once", "steady"]
    assert ranking.scores[-1] == pytest.approx(1.0)
    assert ranking.reasons[0] == Reason("trending_in", {"category": "toys/x"})


def test_what_is_not_known_is_named():
    with pytest.raises(BadInput, match="no popularity 'best'; known: overall, category, trending"):
        Popularity(PopularityConfig("best"))
    with pytest.raises(BadInput, match="no item statistic 'sold'"):
        PopularityConfig(statistic="sold")


def test_an_empty_shelf_is_an_empty_list(make_catalogue, make_shopper):
    for variant in ("overall", "category", "trending"):
        ranking = Popularity(PopularityConfig(variant)).recommend(make_shopper(), make_catalogue({}), 5)
        assert len(ranking) == 0
