import time

import numpy as np
import pytest

from models._candidates import FEATURES, Amounts, Generators, matrix
from models._sources import Asked, numbered
from models.base import Reason
from models.basket import Basket, BasketConfig, Baskets
from models.neighbours import Neighbours
from models.next_purchase import Moment, NextPurchase, NextPurchaseConfig, RankingData
from nextbest.errors import ArtifactError, BadInput, NotReady

ITEMS = [f"i{n:02d}" for n in range(30)]
CONFIG = NextPurchaseConfig(rounds=40, chance_rounds=40, leaves=4, learning_rate=0.2, l2=1.0)


def sold(n, **more):
    return {"sold_7d": 7.0 * n, "sold_30d": 30.0 * n, "sold_90d": 90.0 * n, "sold_365d": 365.0 * n, **more}


@pytest.fixture(scope="module")
def shelf(make_catalogue):
    return make_catalogue(
        {item: sold(1.0 + n / 100, category=f"shop/{n % 3}/x") for n, item in enumerate(ITEMS)}
    )


@pytest.fixture(scope="module")
def basket():
    """i20 goes with i21."""
    lines = [(f"o{n}", item) for n in range(40) for item in ("i20", "i21")]
    lines += [(f"p{n}", ITEMS[n % 20]) for n in range(200)]
    return Basket.learn(Baskets.of([o for o, _ in lines], [i for _, i in lines]), BasketConfig(min_baskets=2))


@pytest.fixture(scope="module")
def people(make_shopper):
    """Everybody bought one item often, and another once, just now; they buy the frequent one again."""
    often = {c: ITEMS[c % 15] for c in range(90)}
    once = {c: ITEMS[15 + c % 5] for c in range(90)}
    return [
        (
            make_shopper(
                {often[c]: [20, 40, 60, 80], once[c]: [1]},
                contact_id=f"c{c}",
                features={"orders_total": 5.0, "orders_90d": 3.0},
            ),
            {often[c]},
        )
        for c in range(90)
    ]


@pytest.fixture(scope="module")
def moment(shelf, people):
    shoppers, bought = [s for s, _ in people], [b for _, b in people]
    within = [b if place % 2 else set() for place, b in enumerate(bought)]
    return Moment(shelf, shoppers, bought, within, passed=True)


@pytest.fixture(scope="module")
def model(moment, basket):
    return NextPurchase.learn(RankingData([moment], moment, None, basket, None, basket), CONFIG, 3)


def test_it_learns_whom_to_believe(model, people, shelf):
    for shopper, bought in people[:20]:
        ranking = model.recommend(shopper, shelf, 5)
        assert ranking.item_ids[0] in bought
        assert len(ranking) == 5
        assert ranking.source == "next_purchase"
        assert (np.diff(ranking.scores) <= 0).all()


def test_probabilities_are_of_the_horizon(model, people, shelf):
    chances = np.array([model.recommend(s, shelf, 5).probabilities for s, _ in people])
    assert chances[:, 0].mean() == pytest.approx(0.5, abs=0.1)
    assert chances[:, 4].mean() < 0.05


def test_reasons(model, make_shopper, shelf):
    shopper = make_shopper({"i03": [20, 40, 60], "i20": [5]}, viewed=["i21"])
    because = dict(
        zip(*(lambda r: (r.item_ids, r.reasons))(model.recommend(shopper, shelf, 30)), strict=True)
    )
    assert because["i03"] == Reason("due", {"usual_days": 20.0, "last_days_ago": 20.0})
    assert because["i20"].kind == "bought_before"
    viewer = model.recommend(make_shopper(viewed=["i20"]), shelf, 30)
    assert viewer.reasons[viewer.item_ids.index("i21")] == Reason("because_you_viewed", {"item_id": "i20"})
    owner = model.recommend(make_shopper({"i20": [2]}), shelf, 30)
    reason = owner.reasons[owner.item_ids.index("i21")]
    assert (reason.kind, reason.because["item_id"]) == ("bought_together", "i20")
    assert {reason.kind for reason in model.recommend(make_shopper(), shelf, 3).reasons} == {"popular_in"}


def test_what_goes_with_the_cart_becomes_a_candidate(basket, make_shopper, shelf):
    amounts = Amounts(personal=5, sequence=0, neighbours=5, popular=1, category=0, trending=1)
    generators = Generators(shelf, None, basket, amounts)
    nothing = generators.candidates(make_shopper(), ())
    found = generators.candidates(make_shopper(), ("i20",))
    assert shelf.index["i21"] in found.rows
    assert shelf.index["i21"] not in nothing.rows
    place = found.rows.tolist().index(shelf.index["i21"])
    seen = matrix(make_shopper(), shelf, found)[place]
    assert seen[FEATURES.index("in_context")] == 1
    assert seen[FEATURES.index("basket_best")] == 1


def test_features_mean_what_they_are_called(make_shopper, make_catalogue):
    shelf = make_catalogue(
        {
            "a": sold(3.0, category="x/y", price=4.0, cadence_days=5.0),
            "b": sold(1.0, category="x/y", price=2.0),
            "c": sold(0.0, category="z"),
        }
    )
    shopper = make_shopper(
        {"a": [10, 30, 50], "gone": [3]},
        viewed=["b"],
        features={
            "orders_90d": 2.0,
            "orders_total": 4.0,
            "spend_365d": 16.0,
            "lines_365d": 2.0,
            "order_gap_days": 5.0,
        },
    )
    found = Generators(shelf, None, None, Amounts()).candidates(shopper, ())
    rows = dict(zip(shelf.item_ids[found.rows], matrix(shopper, shelf, found), strict=True))
    assert set(rows) == {"a", "b", "c"}

    def of(item, name):
        return rows[item][FEATURES.index(name)]

    weight = sum(2 ** -(days / 90) for days in (10, 30, 50))
    assert of("a", "repeat_90d") == pytest.approx(weight)
    assert of("a", "per_order_90d") == pytest.approx(weight / 2)
    assert of("a", "per_order") == pytest.approx(3 / 4)
    assert of("a", "days_since_last") == pytest.approx(10)
    assert of("a", "own_gap") == pytest.approx(20)
    assert of("a", "over_own_gap") == pytest.approx(0.5)
    assert of("a", "over_cadence") == pytest.approx(2.0)
    assert of("a", "over_order_gap") == pytest.approx(2.0)
    assert of("a", "category_share") == pytest.approx(1.0)
    assert of("a", "category_loyalty") == pytest.approx(1.0)
    assert of("b", "category_loyalty") == 0
    assert of("b", "category_days") == pytest.approx(10)
    assert of("b", "viewed_days") == pytest.approx(60 / 86_400)
    assert of("a", "share_90d") == pytest.approx(0.75)
    assert of("b", "price_ratio") == pytest.approx(2.0 / 8.0)
    assert of("b", "repeat_90d") == of("b", "per_order_90d") == 0
    assert np.isnan(of("b", "days_since_last"))
    assert np.isnan(of("c", "category_days"))
    assert np.isnan(of("a", "sequence"))
    assert of("a", "recent_place") == 1
    assert of("a", "in_last_order") == 0
    assert of("c", "items_bought") == 2
    assert of("c", "repeat_share") == pytest.approx(2 / 4)
    assert of("c", "last_order_items") == 1


def test_rows_do_not_depend_on_who_was_asked_for_before(shelf, make_shopper):
    shopper = make_shopper({"i01": [3]})
    one = Generators(shelf, None, None, Amounts())
    first = matrix(shopper, shelf, one.candidates(shopper, ()))
    one.candidates(make_shopper({"i09": [1]}), ("i04",))
    np.testing.assert_array_equal(first, matrix(shopper, shelf, one.candidates(shopper, ())))


def test_an_unknown_shelf_and_an_empty_one_are_no_error(model, make_catalogue, make_shopper, people):
    assert len(model.recommend(people[0][0], make_catalogue({}), 5)) == 0
    other = make_catalogue({"new": {}, "i00": {}})
    assert set(model.recommend(people[0][0], other, 5).item_ids) == {"new", "i00"}
    assert len(model.recommend(make_shopper(contact_id=None), other, 1)) == 1


def test_without_generators_it_still_learns(moment, people, shelf):
    model = NextPurchase.learn(RankingData([moment], moment, None, None, None, None), CONFIG, 3)
    assert model.recommend(people[4][0], shelf, 1).item_ids[0] in people[4][1]


def test_too_little_is_not_ready(shelf, people, moment):
    few = Moment(shelf, [s for s, _ in people[:5]], [b for _, b in people[:5]], [set()] * 5)
    with pytest.raises(NotReady, match="only 5 next orders hold an item"):
        NextPurchase.learn(RankingData([few], few, None, None, None, None), CONFIG, 3)
    never = Moment(shelf, moment.shoppers, moment.next_order, [set()] * len(moment.shoppers))
    with pytest.raises(NotReady, match="both outcomes"):
        NextPurchase.learn(RankingData([moment], never, None, None, None, None), CONFIG, 3)


def test_another_versions_features_are_refused(model, tmp_path):
    model.save(tmp_path)
    file = tmp_path / "next_purchase.json"
    file.write_text(file.read_text().replace("repeat_30d", "repeat_31d"))
    with pytest.raises(ArtifactError, match="train it again"):
        NextPurchase.load(tmp_path)


def test_wrong_sizes_are_named():
    with pytest.raises(BadInput, match="rounds is 0"):
        NextPurchaseConfig(rounds=0)
    with pytest.raises(BadInput, match="leaves must be 2 or more"):
        NextPurchaseConfig(leaves=1)


def test_importance_adds_up(model):
    assert model.importance()["gain"].sum() == pytest.approx(1.0)
    assert model.importance()["gain"].is_monotonic_decreasing


def test_an_answer_takes_milliseconds(model, people, shelf):
    model.recommend(people[0][0], shelf, 20)
    taken = []
    for shopper, _ in people[:40]:
        start = time.perf_counter()
        model.recommend(shopper, shelf, 20)
        taken.append(time.perf_counter() - start)
    assert np.median(taken) < 0.02, "ten times what it takes where nothing else runs"


def test_nothing_bought_within_a_horizon_that_is_over_is_not_ready(moment, shelf):
    going_on = Moment(shelf, moment.shoppers, moment.next_order, moment.within)
    with pytest.raises(NotReady, match="no candidate was bought within the horizon at any moment"):
        NextPurchase.learn(RankingData([going_on], moment, None, None, None, None), CONFIG, 3)


@pytest.fixture(scope="module")
def with_horizons(moment, people, shelf):
    """A third buys within a week, half within the month."""
    bought = [b for _, b in people]
    week = [b if place % 6 in (1, 3) else set() for place, b in enumerate(bought)]
    later = Moment(shelf, moment.shoppers, moment.next_order, moment.within, True, {7: week})
    return NextPurchase.learn(RankingData([moment], later, None, None, None, None), CONFIG, 3)


def test_each_horizon_has_a_probability(with_horizons, people, shelf, tmp_path):
    answers = [with_horizons.recommend(shopper, shelf, 5) for shopper, _ in people]
    assert [sorted(answer.by_horizon) for answer in answers] == [[7, 30]] * len(people)
    firsts = {days: np.mean([answer.by_horizon[days][0] for answer in answers]) for days in (7, 30)}
    assert firsts[7] == pytest.approx(1 / 3, abs=0.1)
    assert firsts[30] == pytest.approx(1 / 2, abs=0.1)
    for answer in answers:
        assert (answer.by_horizon[7] <= answer.by_horizon[30]).all()
        np.testing.assert_array_equal(answer.by_horizon[30], answer.probabilities)
        assert len(answer.take([0, 2]).by_horizon[7]) == 2
    with_horizons.save(tmp_path)
    again = NextPurchase.load(tmp_path).recommend(people[0][0], shelf, 5)
    np.testing.assert_allclose(again.by_horizon[7], answers[0].by_horizon[7])


def test_a_further_source_offers_and_is_seen(make_shopper, shelf):
    class Known:
        kind = "neighbours"
        columns = Neighbours.columns

        def tied(self, shelf):
            return self

        def ask(self, shopper, context):
            row = shelf.index["i07"]
            return Asked(np.array([row, -1]), np.full((2, 1), 0.25), numbered(np.array([row]), len(shelf)))

    amounts = Amounts(popular=1, category=0, trending=0)
    found = Generators(shelf, None, None, amounts, [Known()]).candidates(make_shopper(), ())
    assert shelf.index["i07"] in found.rows
    alike = dict(
        zip(found.rows, matrix(make_shopper(), shelf, found)[:, FEATURES.index("alike")], strict=True)
    )
    assert alike == {row: 0.25 if row == shelf.index["i07"] else 0.0 for row in found.rows}
