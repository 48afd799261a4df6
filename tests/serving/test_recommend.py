"""The ladder of recommendations, each rung by breaking the one above; what may not be shown."""

import math
import threading
from dataclasses import replace
from typing import Any

import pytest

from features.errors import StoreUnavailable
from models.eligibility import PLACEMENTS
from serving.schemas import Recommendations


def ids(answer: Recommendations) -> list[str]:
    return [item.item_id for item in answer.items]


def test_the_learned_ranking_answers_with_its_version_and_its_probability(shop: Any) -> None:
    shop.champions.models["next-purchase"] = shop.ranks(["i03", "i08", "i00"], probability=0.25)
    answer = shop.recommend(contact_id="c1", k=3)
    assert ids(answer) == ["i03", "i08", "i00"]
    assert (answer.source, answer.model_version, answer.fallback) == (
        "ranked",
        "nextbest-next-purchase/1",
        None,
    )
    assert {item.probability for item in answer.items} == {0.25}
    assert answer.identified
    assert (answer.as_of.moment, answer.as_of.position) == (shop.now, 5)


def test_without_a_ranking_the_basket_answers(shop: Any) -> None:
    shop.champions.models["basket"] = shop.ranks(["i08", "i11"], probability=None, source="basket")
    answer = shop.recommend(contact_id="c1", k=2)
    assert ids(answer) == ["i08", "i11"]
    assert (answer.source, answer.model_version, answer.fallback) == (
        "basket",
        "nextbest-basket/1",
        "no_champion",
    )
    assert all(0 < item.probability < 1 for item in answer.items)


def test_without_models_the_shoppers_own_purchases_answer(shop: Any) -> None:
    shop.champions.why = "registry_unavailable"
    answer = shop.recommend(contact_id="c1", k=2)
    assert ids(answer) == ["i05", "i03"]
    assert (answer.source, answer.model_version, answer.fallback) == (
        "frequency",
        None,
        "registry_unavailable",
    )


def test_without_history_what_is_trending_answers(shop: Any) -> None:
    shop.champions.models["next-purchase"] = shop.ranks(["i03"])
    for asked, reason in (({"contact_id": "nobody"}, "unknown_contact"), ({}, "unknown_contact")):
        answer = shop.recommend(k=3, **asked)
        assert answer.source == "trending"
        assert answer.fallback == reason
        assert not answer.identified
        assert len(answer.items) == 3


def test_a_known_contact_without_purchases_is_told_from_an_unknown_one(shop: Any) -> None:
    regular = shop.live.states["c1"]
    nothing = {name: values[:0] for name, values in regular.arrays.items()}
    shop.live.states["c2"] = replace(regular, contact_id="c2", arrays=nothing)
    shop.champions.models["next-purchase"] = shop.ranks(["i03"])
    answer = shop.recommend(contact_id="c2")
    assert (answer.fallback, answer.identified) == ("no_history", True)


def test_a_failing_model_is_stepped_over(shop: Any) -> None:
    def fail() -> None:
        raise RuntimeError("broken")

    shop.champions.models["next-purchase"] = shop.ranks(["i03"], before=fail)
    answer = shop.recommend(contact_id="c1")
    assert (answer.source, answer.fallback) == ("frequency", "model_failed")


def test_a_slow_model_is_left_behind(shop: Any) -> None:
    hold = threading.Event()
    shop.settings = shop.settings.model_copy(update={"budget_ms": 30.0})
    shop.champions.models["next-purchase"] = shop.ranks(["i03"], before=lambda: hold.wait(5))
    answer = shop.recommend(contact_id="c1")
    hold.set()
    assert (answer.source, answer.fallback) == ("frequency", "over_budget")


def test_a_dead_feature_store_is_named_and_costs_no_answer(shop: Any) -> None:
    shop.live.error = StoreUnavailable("gone")
    shop.champions.models["next-purchase"] = shop.ranks(["i03"])
    for asked in ({"contact_id": "c1"}, {"anonymous_id": "v1"}):
        answer = shop.recommend(**asked)
        assert (answer.source, answer.fallback) == ("trending", "feature_store_unavailable")
        assert len(answer.items) == 10


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_without_any_items_there_is_an_empty_answer(shop: Any, placement: str) -> None:
    shop.frame = None
    answer = shop.recommend(contact_id="c1", placement=placement)
    assert (answer.items, answer.source, answer.fallback) == ([], "none", "no_catalogue")


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_every_placement_answers_with_falling_scores_and_no_repeats(shop: Any, placement: str) -> None:
    shop.champions.models["next-purchase"] = shop.ranks(["i03", "i08", "i00", "i01"])
    shop.champions.models["basket"] = shop.ranks(["i11", "i08"], probability=None, source="basket")
    answer = shop.recommend(contact_id="c1", placement=placement, item_ids=["i02"], k=6)
    scores = [item.score for item in answer.items]
    assert answer.items
    assert scores == sorted(scores, reverse=True)
    assert len(set(ids(answer))) == len(ids(answer))
    assert "i02" not in ids(answer)
    assert all(0 <= item.probability <= 1 for item in answer.items)


def test_a_short_ranking_is_filled_up_and_says_by_whom(shop: Any) -> None:
    shop.champions.models["next-purchase"] = shop.ranks(["i08"])
    answer = shop.recommend(contact_id="c1", k=4)
    assert len(answer.items) == 4
    assert (answer.source, answer.fallback) == ("ranked", None)
    assert "filled_by" not in answer.items[0].reason.because
    assert [item.reason.because["filled_by"] for item in answer.items[1:]] == [
        "frequency",
        "frequency",
        "trending",
    ]


def test_on_a_product_page_the_basket_comes_first_then_what_is_similar(shop: Any) -> None:
    shop.champions.models["next-purchase"] = shop.ranks(["i03"])
    shop.champions.models["basket"] = shop.ranks(["i11"], probability=None, source="basket")
    answer = shop.recommend(contact_id="c1", placement="product", item_ids=["i00"], k=3)
    assert ids(answer) == ["i11", "i03", "i06"]
    assert (answer.source, answer.fallback) == ("basket", None)
    del shop.champions.models["basket"]
    answer = shop.recommend(placement="product", item_ids=["i00"], k=3)
    assert ids(answer) == ["i03", "i06", "i09"]
    assert (answer.source, answer.fallback) == ("alternatives", "no_champion")


def test_buy_again_offers_what_was_bought_and_is_due(shop: Any) -> None:
    shop.champions.models["next-purchase"] = shop.ranks(["i00", "i07", "i05", "i03"])
    assert ids(shop.recommend(contact_id="c1", placement="buy_again")) == ["i05", "i03"]
    assert shop.recommend(contact_id="nobody", placement="buy_again").items == []


def test_what_may_not_be_shown(shop: Any) -> None:
    items = shop.frame["item_id"]
    shop.frame = shop.frame.assign(in_stock=items != "i00", hidden=items == "i01")
    shop.champions.models["next-purchase"] = shop.ranks(
        ["i00", "i01", "i02", "i04", "i07", "unknown", "i08"], probability=0.5
    )
    answer = shop.recommend(contact_id="c1", k=12, exclude_ids=["i02"], item_ids=["i04"])
    assert ids(answer)[0] == "i08"
    assert not {"i00", "i01", "i02", "i04", "i07", "unknown"} & set(ids(answer))


def test_a_category_keeps_to_itself_down_the_whole_ladder(shop: Any) -> None:
    shop.champions.models["next-purchase"] = shop.ranks(["i00", "i01", "i02"])
    answer = shop.recommend(contact_id="c1", category="food", k=10)
    assert all(int(item[1:]) % 3 != 2 for item in ids(answer))
    assert ids(answer)[:2] == ["i00", "i01"]
    assert shop.recommend(contact_id="c1", category="nowhere").items == []


def test_no_category_takes_the_whole_page_while_others_have_something(shop: Any) -> None:
    shop.champions.models["next-purchase"] = shop.ranks([f"i{n:02d}" for n in (0, 3, 6, 9, 1, 4, 2)])
    answer = shop.recommend(contact_id="nobody", item_ids=["i11"], k=6)
    assert ids(answer) == ["i00", "i03", "i06", "i01", "i04", "i02"]
    assert ids(shop.recommend(item_ids=["i11"], category="food/milk", k=4)) == ["i00", "i03", "i06", "i09"]


def test_estimates_are_the_shoppers_and_the_shops_rates(shop: Any) -> None:
    shop.champions.models["basket"] = shop.ranks(["i08"], probability=None, source="basket")
    item = shop.recommend(contact_id="c1", k=1).items[0]
    rate = (100 - 8) * math.log(2) / 90 / 500
    assert item.probability == pytest.approx(1 - (1 - 0.25) * math.exp(-rate * 30)), "the rule's confidence"
    shop.champions.models.clear()
    item = shop.recommend(contact_id="c1", k=1).items[0]
    weight = shop.live.states["c1"].at(shop.now.timestamp()).repeat_90d[1]
    assert item.probability == pytest.approx(1 - math.exp(-weight * math.log(2) / 90 * 30))


def test_every_answer_is_written_down_with_its_propensity(shop: Any) -> None:
    answer = shop.recommend(contact_id="c1", placement="email", k=2)
    assert shop.decisions == [
        {
            "decision_id": answer.recommendation_id, "timestamp": shop.now, "kind": "recommendations",
            "contact_id": "c1", "anonymous_id": None, "placement": "email", "campaign_id": None,
            "shown": [[item, 1.0, "frequency"] for item in ids(answer)], "source": answer.source,
            "model_version": answer.model_version, "fallback": answer.fallback, "explore": False,
        }
    ]  # fmt: skip


def test_a_visitor_is_known_by_what_they_looked_at_but_not_identified(shop: Any) -> None:
    shop.live.states["visitor:v1"] = shop.live.states["c1"]
    shop.champions.models["next-purchase"] = shop.ranks(["i08"])
    answer = shop.recommend(anonymous_id="v1", k=1)
    assert (answer.source, answer.fallback, answer.identified) == ("ranked", None, False)
    assert shop.recommend(anonymous_id="c1", k=1).fallback == "unknown_contact"
