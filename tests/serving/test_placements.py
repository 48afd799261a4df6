"""Placements, diversity, exploration, horizons and reasons, on a shop whose answers are known beforehand."""

import math
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.base import Ranking, Reason
from models.basket import Basket, BasketConfig, Baskets
from models.eligibility import PLACEMENTS
from serving.recommend import RecommendationLadder
from serving.refused import Refused
from serving.schemas import REASON_KEYS, RecommendationsRequest

DAY = 86_400.0


def ids(answer: Any) -> list[str]:
    return [item.item_id for item in answer.items]


def category(item_id: str) -> int:
    """The shop has every third item in one category: milk, bread, soap."""
    return int(item_id[1:]) % 3


def bought_together(*baskets: str) -> Basket:
    """Learn rules from baskets written as words, beside sixty others of one item; chance ones count too."""
    every = [*baskets, *(f"i{n % 12:02d}" for n in range(60))]
    pairs = [(f"o{n}", item) for n, basket in enumerate(every) for item in basket.split()]
    data = Baskets.of([order for order, _ in pairs], [item for _, item in pairs])
    return Basket.learn(data, BasketConfig(min_baskets=2, false_discovery=1.0))


def visitor(shop: Any, *viewed: str) -> None:
    nothing = {name: values[:0] for name, values in shop.live.states["c1"].arrays.items()}
    arrays = nothing | {
        "viewed_items": list(viewed),
        "viewed_times": shop.now.timestamp() - 60.0 * np.arange(1, len(viewed) + 1),
    }
    shop.live.states["visitor:v1"] = replace(shop.live.states["c1"], contact_id="v1", arrays=arrays)


# --- product


def test_a_product_page_tells_what_goes_with_it_from_what_could_replace_it(shop: Any) -> None:
    shop.champions.models["basket"] = bought_together(*["i00 i01"] * 9, *["i00 i02"] * 6)
    answer = shop.recommend(placement="product", item_ids=["i00"], k=5)
    assert [(item.item_id, item.role) for item in answer.items] == [
        ("i01", "complement"), ("i03", "alternative"), ("i02", "complement"), ("i06", "alternative"),
        ("i09", "alternative"),
    ]  # fmt: skip
    assert answer.items[0].reason.kind == "bought_together"
    assert answer.items[0].reason.because["lift"] > 1
    assert answer.items[1].reason.because == {
        "item_id": "i00", "category": "food/milk", "price_ratio": 4.0, "title": "Item 0",
    }  # fmt: skip
    assert answer.source == "basket"


@pytest.mark.parametrize(
    ("show", "found"), [("complements", ["i01"]), ("alternatives", ["i03", "i06", "i09"])]
)
def test_one_kind_can_be_asked_for(shop: Any, show: str, found: list[str]) -> None:
    shop.champions.models["basket"] = bought_together(*["i00 i01"] * 9)
    answer = shop.recommend(placement="product", item_ids=["i00"], k=9, show=show)
    assert ids(answer) == found
    assert {item.role for item in answer.items} == {show[:-1]}
    assert shop.recommend(placement="product", show=show).fallback == "no_evidence"


def test_of_the_same_category_only_a_strong_rule_makes_a_complement(shop: Any) -> None:
    shop.champions.models["basket"] = bought_together(*["i00 i03"] * 9)
    asked = {"placement": "product", "item_ids": ["i00"], "show": "complements"}
    assert ids(shop.recommend(**asked)) == []
    shop.champions.models["basket"] = bought_together(*["i00 i03"] * 9, *["i11"] * 200)
    assert ids(shop.recommend(**asked)) == ["i03"]


def test_what_is_alike_by_its_company_comes_first_where_the_sequence_model_can_say(shop: Any) -> None:
    asked = {"placement": "product", "item_ids": ["i00"], "k": 3, "show": "alternatives"}
    model = shop.ranks(["i03"])
    shop.champions.models["next-purchase"] = model
    model.sequence = SimpleNamespace(similar=lambda items, k: [("i09", 0.9), ("i03", 0.1), ("i01", 1.0)])
    answer = shop.recommend(**asked)
    assert ids(answer) == ["i09", "i03", "i06"]
    assert answer.items[0].reason.because["cosine"] == 0.9
    model.sequence = SimpleNamespace(similar=lambda items, k: 1 / 0)
    assert ids(shop.recommend(**asked)) == ["i03", "i06", "i09"]


# --- cart


def test_a_cart_is_answered_as_a_whole_and_without_alternatives_to_it(shop: Any) -> None:
    shop.champions.models["basket"] = bought_together(
        *["i00 i02"] * 9, *["i00 i05"] * 6, *["i01 i05"] * 6, *["i00 i03"] * 6
    )
    shop.champions.models["next-purchase"] = shop.ranks(["i06", "i08", "i04"])
    answer = shop.recommend(placement="cart", item_ids=["i00", "i01"], k=8)
    assert ids(answer)[:2] == ["i05", "i02"], "i05 goes with both"
    assert [item.role for item in answer.items[:3]] == ["complement", "complement", None]
    assert {category(item) for item in ids(answer)} == {2}, "no milk and no bread beside milk and bread"
    assert not {"i00", "i01"} & set(ids(answer))


def test_an_empty_cart_is_like_home(shop: Any) -> None:
    shop.champions.models["next-purchase"] = shop.ranks(["i03", "i08"])
    assert ids(shop.recommend(contact_id="c1", placement="cart", k=2)) == ["i03", "i08"]


# --- email


def mailed(shop: Any, shown: Any, **asked: Any) -> Any:
    parts = replace(shop.parts(), shown=shown)
    request = RecommendationsRequest(contact_id="c1", placement="email", **asked)
    return RecommendationLadder(parts).answer(request, shop.now)


def test_an_email_repeats_nothing_of_the_days_before(shop: Any) -> None:
    shop.champions.models["next-purchase"] = shop.ranks(["i08", "i00", "i01"])
    calls = []

    def shown(*asked: Any) -> set[str]:
        calls.append(asked)
        return {"i08"}

    assert ids(mailed(shop, shown, k=2)) == ["i00", "i01"]
    assert calls == [("c1", "email", shop.now - timedelta(days=14), shop.now)]
    mailed(shop, shown, no_repeat_days=3)
    assert calls[1][2] == shop.now - timedelta(days=3)
    assert ids(mailed(shop, shown, k=1, no_repeat_days=0)) == ["i08"]
    assert len(calls) == 2


def test_what_was_bought_lately_is_in_no_email_unless_it_is_due(shop: Any) -> None:
    shop.live.states["c1"] = shop.buyer(bought={"i03": 6.0, "i05": 9.0})  # bought again every ten days
    shop.champions.models["next-purchase"] = shop.ranks(["i03", "i05", "i00"])
    assert ids(shop.recommend(contact_id="c1", placement="email", k=2)) == ["i05", "i00"]
    assert ids(shop.recommend(contact_id="c1", placement="email", k=2, no_repeat_days=5)) == ["i03", "i05"]
    assert ids(shop.recommend(contact_id="c1", placement="home", k=2)) == ["i03", "i05"]


def test_a_dead_decision_log_costs_no_answer_and_is_named(shop: Any) -> None:
    shop.champions.models["next-purchase"] = shop.ranks(["i08"])

    def dead(*asked: Any) -> set[str]:
        raise OSError("disk full")

    answer = mailed(shop, dead, k=1)
    assert (ids(answer), answer.fallback, answer.notes) == (["i08"], None, ["decision_log_unavailable"])


# --- buy again


def test_buy_again_is_ordered_by_how_due_it_is_and_says_so(shop: Any) -> None:
    shop.live.states["c1"] = shop.buyer(bought={"i03": 9.0, "i05": 15.0, "i07": 7.0})
    shop.champions.models["next-purchase"] = shop.ranks(["i07", "i03", "i05"])
    answer = shop.recommend(contact_id="c1", placement="buy_again")
    assert ids(answer) == ["i05", "i03"]
    assert answer.items[0].reason.because == {"usual_days": 10.0, "last_days_ago": 15.0, "overdue": 1.5}
    shop.champions.models.clear()
    answer = shop.recommend(contact_id="c1", placement="buy_again")
    assert (ids(answer), answer.source, answer.fallback) == (["i05", "i03"], "frequency", "no_champion")


def test_where_nothing_is_due_the_answer_is_empty_and_says_why(shop: Any) -> None:
    shop.live.states["c1"] = shop.buyer(bought={"i03": 1.0})
    answer = shop.recommend(contact_id="c1", placement="buy_again")
    assert (answer.items, answer.source, answer.fallback) == ([], "none", "nothing_due")
    assert shop.recommend(contact_id="nobody", placement="buy_again").fallback == "unknown_contact"


# --- trending


def test_trending_says_how_much_and_keeps_to_a_category(shop: Any) -> None:
    shop.frame.loc[shop.frame["item_id"] == "i04", "sold_7d"] = 40.0
    answer = shop.recommend(placement="trending", k=4)
    first = answer.items[0]
    assert first.item_id == "i04"
    assert first.reason.because == {"category": "food/bread", "ratio": round(45 / (96 * 7 / 90 + 5), 2)}
    answer = shop.recommend(placement="trending", category="food/milk", k=4)
    assert {category(item) for item in ids(answer)} == {0}


def test_where_nothing_rises_trending_is_what_sells_and_says_so(shop: Any) -> None:
    shop.frame["sold_7d"] = 1.0
    answer = shop.recommend(placement="trending", k=3)
    assert (answer.source, answer.fallback) == ("popularity_category", "nothing_trending")


# --- visitors with views alone


def test_views_alone_are_a_reason_on_every_rung(shop: Any) -> None:
    visitor(shop, "i00", "i02")
    shop.champions.models["basket"] = bought_together(*["i00 i01"] * 9)
    answer = shop.recommend(anonymous_id="v1", k=1)
    assert (ids(answer), answer.source) == (["i01"], "basket")
    assert (answer.items[0].reason.kind, answer.items[0].reason.because["item_id"]) == (
        "because_you_viewed", "i00",
    )  # fmt: skip
    shop.champions.models.clear()
    answer = shop.recommend(anonymous_id="v1", k=4)
    assert ids(answer) == ["i03", "i05", "i06", "i08"]
    assert {item.reason.kind for item in answer.items} == {"because_you_viewed"}
    assert [item.reason.because["item_id"] for item in answer.items] == ["i00", "i02", "i00", "i02"]
    assert answer.source == "viewed"


# --- diversity


@pytest.mark.parametrize("most", [1, 2, 3])
def test_no_category_takes_more_than_was_asked_down_the_whole_ladder(shop: Any, most: int) -> None:
    shop.champions.models["next-purchase"] = shop.ranks(["i00", "i03", "i06", "i09"])
    answer = shop.recommend(item_ids=["i11"], k=3 * most, max_per_category=most)
    assert Counter(map(category, ids(answer))) == dict.fromkeys(range(3), most)
    assert answer.notes == []


def test_the_limit_gives_way_only_where_the_page_would_stay_short(shop: Any) -> None:
    shop.champions.models["next-purchase"] = shop.ranks(["i00", "i03", "i06", "i09"])
    answer = shop.recommend(item_ids=["i11"], k=5, max_per_category=1)
    assert Counter(map(category, ids(answer)[:3])) == {0: 1, 1: 1, 2: 1}
    assert ids(answer)[3:] == ["i03", "i06"], "the best of what was held back"
    assert answer.notes == ["category_limit_relaxed"]


def test_the_rungs_look_past_the_best_sellers_before_the_limit_gives_way(shop: Any) -> None:
    many = shop.frame.iloc[np.zeros(300, dtype=int)].assign(
        item_id=[f"m{n:03d}" for n in range(300)], sold_90d=500.0
    )
    shop.frame = type(shop.frame)(
        [*many.to_dict("records"), *shop.frame.to_dict("records")], columns=shop.frame.columns
    )
    answer = shop.recommend(k=6, max_per_category=2)
    paths = dict(zip(shop.frame["item_id"], shop.frame["category"], strict=True))
    assert set(Counter(paths[item] for item in ids(answer)).values()) == {2}


# --- exploration


def exploring(shop: Any, share: float = 0.5) -> None:
    shop.settings = shop.settings.model_copy(update={"explore_share": share})
    old, new = shop.now.timestamp() - 300 * DAY, shop.now.timestamp() - 3 * DAY
    shop.frame["first_sold"] = [new if n >= 8 else old for n in range(12)]
    shop.frame.loc[shop.frame["item_id"] == "i11", "first_sold"] = math.nan
    shop.champions.models["next-purchase"] = shop.ranks(["i00", "i01", "i02", "i08"])


def test_chance_shows_new_items_as_often_as_it_says(shop: Any) -> None:
    exploring(shop)
    ladder, asked = (
        RecommendationLadder(shop.parts()),
        RecommendationsRequest(contact_id="c1", k=4, explore=True),
    )
    seen, said, draws = Counter[str](), dict[str, float](), 500
    for _ in range(draws):
        answer = ladder.answer(asked, shop.now)
        seen.update(ids(answer))
        for item in answer.items:
            assert said.setdefault(item.item_id, item.propensity) == item.propensity
    assert set(said) == {"i00", "i01", "i02", "i08", "i09", "i10", "i11"}
    assert said["i00"] == 1.0, "three new items can take three places"
    assert said["i08"] == said["i09"] == 0.5, "new or not, what ranks by itself stays as often as it is left"
    for item, propensity in said.items():
        assert seen[item] / draws == pytest.approx(propensity, abs=0.1)


def test_a_new_item_says_since_when_and_is_written_down(shop: Any) -> None:
    exploring(shop, share=1.0)
    answer = shop.recommend(contact_id="c1", k=4, explore=True)
    new = {item.item_id: item for item in answer.items[1:]}
    assert set(new) == {"i09", "i10", "i11"}
    assert new["i09"].reason.model_dump() == {"kind": "new", "because": {"first_sold_days_ago": 3.0}}
    assert new["i11"].reason.because == {"first_sold_days_ago": None}
    (row,) = shop.decisions
    assert [entry[:2] for entry in row["shown"]] == [[i.item_id, i.propensity] for i in answer.items]
    assert row["explored"] == {"epsilon": 1.0, "slots": 3, "pool": 3}


def test_an_answer_can_be_repeated_from_its_id(shop: Any) -> None:
    exploring(shop)
    ladder, asked = RecommendationLadder(shop.parts()), RecommendationsRequest(contact_id="c1", explore=True)
    answers = [ladder.answer(asked, shop.now) for _ in range(40)]  # all alike once in millions of runs
    for answer in answers:
        assert ladder.answer(asked, shop.now, answer.recommendation_id).items == answer.items
    assert len({tuple(ids(answer)) for answer in answers}) > 1


def test_without_asking_chance_has_no_say(shop: Any) -> None:
    exploring(shop, share=1.0)
    answer = shop.recommend(contact_id="c1", k=4)
    assert ids(answer) == ["i00", "i01", "i02", "i08"]
    assert {item.propensity for item in answer.items} == {1.0}


@pytest.mark.parametrize("asked", [{"max_per_category": 1}, {"exclude_ids": ["i09"]}, {"category": "care"}])
def test_chance_keeps_to_the_rules(shop: Any, asked: dict[str, Any]) -> None:
    exploring(shop, share=1.0)
    for _ in range(20):
        answer = shop.recommend(contact_id="c1", k=2, explore=True, **asked)
        assert len(set(ids(answer))) == 2
        assert "i09" not in ids(answer) or "exclude_ids" not in asked
        assert "category" not in asked or {category(item) for item in ids(answer)} == {2}
        assert "max_per_category" not in asked or len({category(item) for item in ids(answer)}) == 2


# --- horizons


def test_another_horizon_is_the_models_or_an_estimate_or_refused(shop: Any) -> None:
    class Knows:
        kind = "knows"

        def recommend(self, shopper: Any, catalogue: Any, k: int, context: Any = ()) -> Ranking:
            chances = {7: np.array([0.1]), 30: np.array([0.4])}
            return Ranking(["i08"], np.array([1.0]), [Reason("popular")], "knows", chances[30], chances)

    shop.champions.models["next-purchase"] = Knows()
    for days, chance in ((None, 0.4), (30, 0.4), (7, 0.1)):
        answer = shop.recommend(contact_id="c1", k=2, horizon_days=days)
        assert (answer.items[0].probability, answer.horizon_days) == (chance, days or 30)
    with pytest.raises(Refused, match="knows no 9 days; it knows: 7, 30") as refused:
        shop.recommend(contact_id="c1", k=1, horizon_days=9)
    assert refused.value.status == 400
    shop.champions.models.clear()
    week, year = (
        shop.recommend(contact_id="c1", k=1, horizon_days=days).items[0].probability for days in (9, 99)
    )
    assert 1 - (1 - week) ** 11 == pytest.approx(year)


# --- every placement


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("models", [(), ("next-purchase",), ("basket", "next-purchase")])
@pytest.mark.parametrize("who", ["c1", "nobody", "visitor"])
def test_every_reason_holds_what_its_kind_promises(
    shop: Any, placement: str, models: tuple[str, ...], who: str
) -> None:
    exploring(shop)
    visitor(shop, "i00")
    del shop.champions.models["next-purchase"]
    if "basket" in models:
        shop.champions.models["basket"] = bought_together(*["i00 i01"] * 9)
    if "next-purchase" in models:
        shop.champions.models["next-purchase"] = shop.ranks(["i08", "i05", "i03"])
    asked = {"anonymous_id": "v1"} if who == "visitor" else {"contact_id": who}
    answer = shop.recommend(placement=placement, item_ids=["i00"], k=8, explore=True, **asked)
    for item in answer.items:
        assert set(REASON_KEYS[item.reason.kind]) <= set(item.reason.because)
        assert "item_id" not in item.reason.because or item.reason.because["title"]


def test_a_reason_that_lacks_something_is_plainly_popular(shop: Any) -> None:
    model = shop.ranks(["i08"])
    model.recommend = lambda *asked: Ranking(["i08"], np.ones(1), [Reason("because_you_viewed")], "odd")
    shop.champions.models["next-purchase"] = model
    assert shop.recommend(contact_id="c1", k=1).items[0].reason.model_dump() == {
        "kind": "popular",
        "because": {},
    }


ITEM = st.integers(0, 11).map(lambda n: f"i{n:02d}")


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    placement=st.sampled_from(PLACEMENTS),
    ranked=st.lists(ITEM, unique=True, max_size=12),
    together=st.lists(st.tuples(ITEM, ITEM).map(" ".join), min_size=6, max_size=9).map(lambda b: b * 2),
    context=st.lists(ITEM, unique=True, max_size=3),
    gone=st.sets(ITEM, max_size=4),
    excluded=st.lists(ITEM, unique=True, max_size=4),
    k=st.integers(1, 12),
    most=st.none() | st.integers(1, 4),
    explore=st.booleans(),
    who=st.sampled_from(["c1", "nobody", None]),
)
def test_whatever_is_asked(
    shop_factory: Any, placement: str, ranked: list[str], together: list[str], context: list[str],
    gone: set[str], excluded: list[str], k: int, most: int | None, explore: bool, who: str | None,
) -> None:  # fmt: skip
    shop = shop_factory()
    exploring(shop)
    shop.frame["in_stock"] = ~shop.frame["item_id"].isin(gone)
    shop.champions.models["next-purchase"] = shop.ranks(ranked)
    shop.champions.models["basket"] = bought_together(*together, *["i00 i01"] * 3)
    answer = shop.recommend(
        contact_id=who, placement=placement, item_ids=context, exclude_ids=excluded, k=k,
        max_per_category=most, explore=explore,
    )  # fmt: skip
    found = ids(answer)
    scores = [item.score for item in answer.items]
    assert scores == sorted(scores, reverse=True)
    assert len(set(found)) == len(found) <= k
    assert not set(found) & {*gone, *excluded, *context}
    assert "i07" not in found or who != "c1", "bought two days ago, and every ten"
    assert all(0 < item.propensity <= 1 and (explore or item.propensity == 1) for item in answer.items)
    assert all(0 <= item.probability <= 1 for item in answer.items)
    if most is not None and "category_limit_relaxed" not in answer.notes:
        assert max(Counter(map(category, found)).values(), default=0) <= most
    if "category_limit_relaxed" in answer.notes and placement in ("home", "email", "trending"):
        out = {*gone, *excluded, *context, *(["i07"] if who == "c1" else [])}
        left = Counter(n % 3 for n in range(12) if f"i{n:02d}" not in out)
        assert sum(min(count, most or max(3, -(-k // 3))) for count in left.values()) < k
