from features.points import Rules
from models.basket import Basket, Baskets
from serving.answers import Answers, _rule
from serving.schemas import BoughtTogetherRequest


def test_a_certain_rule_has_no_conviction_in_json_and_says_how_sure_it_is():
    baskets = ["ab"] * 20 + ["b"] * 5 + ["c"] * 60
    pairs = [(f"o{n}", item) for n, basket in enumerate(baskets) for item in basket]
    model = Basket.learn(Baskets.of([order for order, _ in pairs], [item for _, item in pairs]))
    (certain,) = model.bought_together(["a"], 5)
    (usual,) = model.bought_together(["b"], 5)
    one, other = (_rule(rule, None).model_dump(mode="json") for rule in (certain, usual))
    assert (one["confidence"], one["conviction"]) == (1.0, None)
    assert 1 < other["conviction"] < 10
    assert 0 < one["p_value"] <= one["q_value"] < 1e-6
    assert one["evidence"] == {
        "baskets": 20,
        "antecedent_baskets": 20,
        "consequent_baskets": 25,
        "total_baskets": 85,
    }


def test_what_was_answered_is_written_down_under_an_id_that_clicks_can_name(shop):
    pairs = [(f"o{n}", item) for n in range(20) for item in ("i00", "i01")]
    pairs += [(f"p{n}", "i02") for n in range(60)]
    asked = BoughtTogetherRequest(item_ids=["i00"])
    answers = Answers(shop.parts(), Rules.load(None))
    assert answers.bought_together(asked, shop.now).fallback == "no_champion"
    shop.champions.models["basket"] = Basket.learn(Baskets.of(*zip(*pairs, strict=True)))
    answer = answers.bought_together(asked, shop.now)
    nothing, row = shop.decisions
    assert (nothing["shown"], nothing["fallback"]) == ([], "no_champion")
    assert (row["decision_id"], row["placement"]) == (answer.recommendation_id, "bought_together")
    assert row["shown"] == [["i01", 1.0, "basket"]]
