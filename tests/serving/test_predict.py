"""Predictions and the contact card, rung by rung."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.errors import StoreUnavailable
from features.points import Rules
from models.churn import Driver
from nextbest.columns import CONTACT_FEATURES
from serving.answers import Answers
from serving.predict import PredictionLadders
from serving.profile import Profiler
from serving.schemas import TASKS, PredictionsRequest


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


# --- each row its own rung


class Churns:
    """A churn model that knows those of few orders, at the horizon asked for."""

    kind = "churn"

    class config:  # noqa: N801
        horizon_days = None

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        known = frame["orders_total"].between(2, 4)
        days = frame.get("horizon_days", pd.Series(45.0, index=frame.index)).fillna(45.0)
        out = pd.DataFrame({"probability": (days / 1000).where(known), "horizon_days": days})
        return out.assign(
            low=out["probability"] / 2, high=out["probability"] * 2, band="low", percentile=10.0
        )

    def next_order(self, frame: pd.DataFrame, within: float) -> pd.DataFrame:
        names = ("days", "low_days", "high_days", "probability")
        return pd.DataFrame(
            dict(zip(names, (3.0, 1.0, np.nan, within / 100), strict=True)), index=frame.index
        )


class Some(Values):
    """A value model that knows those of five orders or more, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        self.asked += 1
        return super().score(frame).where(frame["orders_total"] >= 5)


def rows(orders: list[float]) -> pd.DataFrame:
    """Contacts of so many orders, ten days apart, the last twenty days ago."""
    frame = pd.DataFrame(0.0, index=range(len(orders)), columns=list(CONTACT_FEATURES))
    total = np.array(orders)
    many = total > 1
    return frame.assign(
        orders_total=total, orders_90d=total / 2, spend_total=10 * total, spend_90d=5 * total,
        recency_days=np.where(total > 0, 20.0, np.nan), recency_over_gap=np.where(many, 2.0, np.nan),
        order_gap_days=np.where(many, 10.0, np.nan),
    )  # fmt: skip


ORDERS = [3.0, 6.0, 1.0, 2.0, 9.0, 0.0, 4.0, 20.0]


def test_each_row_is_answered_by_the_first_rung_that_knows_it(shop: Any) -> None:
    some = Some()
    shop.champions.models |= {"churn": Churns(), "value": some}
    known = np.array([True] * 7 + [False])
    found = PredictionLadders(shop.parts()).frame(rows(ORDERS), TASKS, known)
    assert found.index.tolist() == list(range(len(ORDERS)))
    nothing = "not_enough_data"
    assert found["churn.source"].tolist() == [
        "churn", "bgnbd", nothing, "churn", "bgnbd", nothing, "churn", nothing
    ]  # fmt: skip
    assert found["churn.fallback"].tolist() == [
        None, nothing, "no_orders", None, nothing, "no_orders", None, "unknown_contact"
    ]  # fmt: skip
    unknown = [False, False, True, False, False, True, False, True]
    assert found["churn.probability"].isna().tolist() == unknown
    assert found.loc[[0, 1], "churn.probability"].tolist() == [0.045, 0.2]
    assert found["churn.band"].tolist() == [
        "low",
        "low",
        "unknown",
        "low",
        "low",
        "unknown",
        "low",
        "unknown",
    ]
    assert found.loc[[0, 1], "churn.horizon_days"].tolist() == [45.0, 30.0]
    assert found.loc[0, ["churn.low", "churn.high"]].tolist() == [0.0225, 0.09]
    own = "own_rate"
    for task in ("value", "next_order"):
        sources = found[f"{task}.source"].tolist()
        assert sources == [own, "value", own, own, "value", nothing, own, nothing]
        assert found[f"{task}.version"].notna().tolist() == [one == "value" for one in sources]
    rate = 5.0 * np.log(2) / 90 * 30
    np.testing.assert_allclose(found.loc[[0, 2, 3], "value.value"], [3 * rate, rate, 2 * rate])
    assert found.loc[1, "value.value"] == 20.0
    assert found["value.past"].tolist()[:2] == [30.0, 60.0]
    assert found.loc[1, "next_order.days"] == 3.0
    assert found.loc[1, "next_order.probability"] == 0.3
    assert np.isnan(found.loc[0, "next_order.days"])


def test_without_champions_each_row_falls_to_its_own_rhythm(shop: Any) -> None:
    shop.champions.models["value"] = Some()
    found = PredictionLadders(shop.parts()).frame(rows(ORDERS), ["churn"])
    assert found["churn.source"].tolist() == [
        "recency", "bgnbd", "not_enough_data", "recency", "bgnbd", "not_enough_data", "recency", "bgnbd"
    ]  # fmt: skip
    assert found.loc[[0, 3, 6], "churn.band"].tolist() == ["medium"] * 3
    assert found.loc[[0, 3, 6], "churn.probability"].isna().all()
    assert found["churn.fallback"].tolist()[:3] == ["no_champion"] * 3


def test_a_row_is_answered_alone_as_among_others(shop: Any) -> None:
    shop.champions.models |= {"churn": Churns(), "value": Some()}
    ladders, frame = PredictionLadders(shop.parts()), rows(ORDERS)
    together = ladders.frame(frame, TASKS)
    for place in range(len(frame)):
        alone = ladders.frame(frame.iloc[[place]], TASKS)
        pd.testing.assert_frame_equal(
            alone.reset_index(drop=True), together.iloc[[place]].reset_index(drop=True), check_dtype=False
        )
    nobody = ladders.frame(frame[:0], TASKS)
    assert len(nobody) == 0
    assert set(nobody.columns) == set(together.columns)


def test_the_value_model_is_asked_once_where_several_tasks_read_it(shop: Any) -> None:
    some = Some()
    shop.champions.models["value"] = some
    PredictionLadders(shop.parts()).frame(rows(ORDERS), ["churn", "value", "next_order"])
    assert some.asked == 1


def test_the_horizon_asked_for_is_the_one_answered(shop: Any) -> None:
    shop.champions.models["churn"] = Churns()
    ladders = PredictionLadders(shop.parts())
    frame = rows([3.0, 3.0]).assign(horizon_days=[90.0, np.nan])
    found = ladders.frame(frame, ["churn"])
    assert found["churn.horizon_days"].tolist() == [90.0, 45.0]
    assert found["churn.probability"].tolist() == [0.09, 0.045]
    state = shop.live.states["c1"]
    shop.live.states["c1"] = replace(state, counters={**state.counters, "orders_total": 3.0})
    asked = PredictionsRequest(contact_ids=["c1"], tasks=["churn"], horizon_days=60)
    (contact,) = ladders.answer(asked, shop.now).contacts
    assert (contact.predictions["churn"].horizon_days, contact.predictions["churn"].probability) == (60, 0.06)


def test_dates_of_the_next_order_are_days(shop: Any) -> None:
    shop.champions.models |= {"churn": Churns(), "value": Values()}
    order = shop.predict("c1")[0]["next_order"]
    days = [None if day is None else (day - shop.now.date()).days for day in
            (order.date, order.low_date, order.high_date)]  # fmt: skip
    assert days == [3, 1, None]
    assert order.probability == pytest.approx(0.3)


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
