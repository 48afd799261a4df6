"""Predictions and the contact card, rung by rung."""

from typing import Any

import pandas as pd
import pytest

from features.errors import StoreUnavailable
from features.points import Rules
from models.churn import Driver
from serving.answers import Answers
from serving.profile import Profiler


class Probabilities:
    """A churn model that knows everybody's probability, or nobody's."""

    kind = "churn"

    class config:  # noqa: N801 - stands for a frozen dataclass
        horizon_days = 14

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        columns = {"probability": self.probability, "percentile": 70.0, "band": "medium"}
        return pd.DataFrame(columns, index=frame.index)

    def drivers(self, frame: pd.DataFrame) -> list[list[Any]]:
        return [[Driver("recency_days", float("nan"), 0.3, "last order unknown")]] * len(frame)


class Values:
    """A value model."""

    kind = "value"

    class config:  # noqa: N801
        horizon_days = 30.0

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        columns = {
            "p_alive": 0.9, "p_no_order": 0.2, "expected_orders": 2.0, "orders_low": 0.0, "orders_high": 5.0,
            "order_value": 10.0, "expected_spend": 20.0, "next_order_days": 7.0,
        }  # fmt: skip
        return pd.DataFrame(columns, index=frame.index)


def test_the_champions_answer(shop: Any) -> None:
    shop.champions.models |= {"churn": Probabilities(0.4), "value": Values()}
    (given,) = shop.predict("c1")
    churn, value, order = given["churn"], given["value"], given["next_order"]
    assert (churn.probability, churn.percentile, churn.band, churn.horizon_days) == (0.4, 70.0, "medium", 14)
    assert (churn.source, churn.model_version, churn.fallback) == ("churn", "nextbest-churn/1", None)
    assert (churn.drivers[0].feature, churn.drivers[0].value) == ("recency_days", None)
    assert (value.value, value.low, value.high, value.fallback) == (20.0, 0.0, 50.0, None)
    assert (order.probability, order.value, order.low, order.high) == (0.8, 2.0, 0.0, 5.0)


def test_without_a_churn_model_bgnbd_answers(shop: Any) -> None:
    shop.champions.models["value"] = Values()
    churn = shop.predict("c1")[0]["churn"]
    assert (churn.probability, churn.band, churn.source, churn.fallback) == (
        0.2,
        "low",
        "bgnbd",
        "no_champion",
    )
    assert churn.model_version == "nextbest-value/1"


def test_without_any_model_the_contacts_own_rhythm_answers(shop: Any) -> None:
    (given,) = shop.predict("c1")
    churn = given["churn"]
    assert (churn.source, churn.fallback, churn.probability) == ("recency", "no_champion", None)
    assert churn.band in ("low", "medium", "high")
    assert given["value"].source == given["next_order"].source == "own_rate"
    assert 0 < given["next_order"].probability < 1


def test_where_nothing_is_known_it_says_so(shop: Any) -> None:
    shop.champions.models |= {"churn": Probabilities(0.4), "value": Values()}
    (given,) = shop.predict("nobody")
    assert {p.source for p in given.values()} == {"not_enough_data"}
    assert {p.fallback for p in given.values()} == {"unknown_contact"}
    shop.live.error = StoreUnavailable("gone")
    assert shop.predict("c1")[0]["churn"].fallback == "feature_store_unavailable"


def test_a_model_that_fails_or_knows_nothing_is_stepped_over(shop: Any) -> None:
    shop.champions.models |= {"churn": object(), "value": Values()}
    assert shop.predict("c1")[0]["churn"].fallback == "model_failed"
    shop.champions.models["churn"] = Probabilities(float("nan"))
    churn = shop.predict("c1")[0]["churn"]
    assert (churn.source, churn.fallback) == ("bgnbd", "not_enough_data")


def test_known_and_unknown_contacts_keep_their_places(shop: Any) -> None:
    shop.champions.models["churn"] = Probabilities(0.4)
    given = shop.predict("nobody", "c1", "nobody2")
    assert [g["churn"].source for g in given] == ["not_enough_data", "churn", "not_enough_data"]


@pytest.fixture
def answers(shop: Any) -> Answers:
    return Answers(shop.parts(), Rules(rules=(), thresholds={"engaged": 10.0}))


def test_the_card_of_a_known_contact(shop: Any, answers: Answers) -> None:
    card = answers.contact_card("c1", shop.now)
    assert card is not None
    stands = Profiler(shop.parts()).of(["c1"], shop.now).iloc[0]
    assert (card.segment, card.stage) == (None, stands["lifecycle.stage"])
    assert (card.engagement.index, card.engagement.half) == (stands["engagement.index"], "after")
    assert card.affinities[0].category == "food/milk"
    assert card.affinities[0].share == 1.0
    assert set(card.predictions) == {"churn", "value", "next_order"}
    assert card.consents["email"].consent is None
    assert card.engagement.level == "high"
    assert card.rule_score is not None
    assert card.rule_score.reached == []


def test_the_card_names_the_segment_and_how_it_moved(shop: Any) -> None:
    class Falls:
        def score(self, frame: pd.DataFrame) -> pd.DataFrame:
            fresh = frame["recency_days"].to_numpy() == 0
            segment = ["champions" if f else "at_risk" for f in fresh]
            return pd.DataFrame({"r": 2.0, "f": 5.0, "m": 5.0, "segment": segment}, index=frame.index)

    shop.champions.models["rfm"] = Falls()
    card = Answers(shop.parts(), Rules(rules=())).contact_card("c1", shop.now)
    assert card is not None
    assert card.segment is not None
    assert (card.segment.name, card.segment.before, card.segment.moved) == ("at_risk", "champions", "down")


def test_there_is_no_card_of_nobody(shop: Any, answers: Answers) -> None:
    assert answers.contact_card("nobody", shop.now) is None
