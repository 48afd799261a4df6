"""The whole card: what happened, the path by month, what to do next; what is missing is null."""

from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from features.events._identity import Person
from features.points import Rules
from models.lifecycle import Lifecycle
from serving._next_best import worth
from serving._path import MONTHS, path
from serving._timeline import timeline
from serving.answers import Answers
from serving.parts import Parts
from serving.predict import rows_of
from serving.schemas import AsOf, Prediction, ValueAhead

from .conftest import NOW

DAY = timedelta(days=1)


def event(kind: str, days_ago: float, **columns: Any) -> dict[str, Any]:
    empty = dict.fromkeys(
        (
            "item_id", "order_id", "quantity", "price", "currency", "channel", "campaign_id", "url",
            "properties", "anonymous_id",
        )
    )  # fmt: skip
    return {**empty, "contact_id": "c1", "event": kind, "timestamp": NOW - days_ago * DAY, **columns}


def line(
    days_ago: float, item: str, price: float | None, order: str = "o1", **columns: Any
) -> dict[str, Any]:
    return event("order_completed", days_ago, item_id=item, price=price, order_id=order, **columns)


def titled(item: str) -> str | None:
    return {"i01": "Bread"}.get(item)


# --- the timeline


def test_the_lines_of_an_order_are_one_thing() -> None:
    events = [
        line(2, "i00", 1.0, quantity=3.0, currency="EUR"), line(2, "i01", 5.0),
        event("product_viewed", 1, item_id="i02"), line(0.5, "i01", 5.0, order="o2"),
    ]  # fmt: skip
    last, seen, first = timeline(events, titled, 10)
    assert (first.times, first.total, first.currency, first.order_id) == (2, 8.0, "EUR", "o1")
    assert [(item.item_id, item.title) for item in first.items] == [("i01", "Bread"), ("i00", None)]
    assert (seen.event, seen.total, seen.who) == ("product_viewed", None, "c1")
    assert (last.order_id, last.total) == ("o2", 5.0)


def test_what_was_seen_within_a_minute_is_one_thing() -> None:
    second = 1 / 86_400
    events = [event("recommendation_viewed", 1 - n * second, item_id=f"i{n:02d}") for n in range(20)]
    opened = event("message_opened", 0.4, channel="email")
    events += [event("recommendation_viewed", 0.5, item_id="i00"), opened, opened]
    *messages, later, shelf = timeline(events, titled, 10)
    assert [one.channel for one in messages] == ["email", "email"]
    assert (shelf.times, len(shelf.items), later.times) == (20, 12, 1)
    assert len(timeline(events, titled, 2)) == 2


def test_an_order_without_prices_has_no_total_and_a_visit_has_its_own_id() -> None:
    visit = event("page_viewed", 1, contact_id=None, anonymous_id="v1", url="https://shop.example/")
    search, unread = (
        event("products_searched", 0.1, properties=said) for said in ('{"query": "milk"}', "[nonsense")
    )
    nothing, milk, ordered, visited = timeline([visit, line(0.5, "i00", None), search, unread], titled, 10)
    assert ordered.total is None
    assert (visited.who, visited.url) == ("v1", "https://shop.example/")
    assert (milk.query, nothing.query) == ("milk", None)


# --- the path


class ByOrders:
    """An RFM model: who has ordered is a champion."""

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        ordered = frame["orders_total"] > 0
        return pd.DataFrame({"segment": ["champions" if one else "no_orders" for one in ordered]})


def test_the_path_ends_with_the_present(shop: Any) -> None:
    view = shop.live.get(["c1"], NOW.timestamp())[0]
    present = pd.DataFrame([view.row()])  # six orders, 60 in all
    before = present.assign(orders_total=[4.0], spend_total=[50.0], timestamp=[NOW - 40 * DAY])
    empty = before.assign(orders_total=[0.0], spend_total=[0.0], timestamp=[NOW - 80 * DAY])
    stale = before.assign(timestamp=[NOW])  # as the last build saw it
    steps = path(pd.concat([empty, before, stale]), present, NOW, ByOrders(), Lifecycle())
    assert [(step.segment, step.orders, step.spend) for step in steps] == [
        (None, 0, 0.0), ("champions", 4, 50.0), ("champions", 2, 10.0)
    ]  # fmt: skip
    assert [step.at for step in steps] == [NOW - 80 * DAY, NOW - 40 * DAY, NOW]
    assert [step.segment for step in path(before.head(0), present, NOW, None, Lifecycle())] == [None]


def test_a_long_path_begins_with_its_first_months_own_orders(shop: Any) -> None:
    present = pd.DataFrame([shop.live.get(["c1"], NOW.timestamp())[0].row()])
    months = [present.assign(orders_total=[n + 1.0], timestamp=[NOW]) for n in range(MONTHS + 2)]
    steps = path(pd.concat(months), present.assign(orders_total=[99.0]), NOW, None, Lifecycle())
    assert len(steps) == MONTHS + 1
    assert steps[0].orders == 1


# --- what it is worth


def told(**fields: Any) -> Prediction:
    made: dict[str, Any] = {"source": "s", "model_version": None, "fallback": None, "horizon_days": 30}
    return Prediction(**made, **fields, as_of=AsOf(moment=NOW, position=0))


def test_worth_is_what_may_be_lost() -> None:
    value = told(value=10.0, ahead=[ValueAhead(days=90, orders=3.0, spend=200.0)])
    found = worth({"churn": told(probability=0.25), "value": value})
    assert found is not None
    assert (found.at_risk, found.expected, found.days) == (50.0, 200.0, 90)
    assert "50.00 of the 200.00" in found.says
    unpriced = told(value=1.0, ahead=[ValueAhead(days=90, orders=3.0, spend=None)])
    for churn, spend in ((told(), value), (told(probability=0.2), told()), (told(probability=0.2), unpriced)):
        assert worth({"churn": churn, "value": spend}) is None


# --- the card


class Past:
    """A past that is told, or fails."""

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken

    def person(self, contact_id: str) -> Person:
        return Person(contact_id, frozenset({contact_id, "old"}), {"v1": None})

    def months(self, person: Person, now: datetime, months: int) -> pd.DataFrame:
        if self.broken:
            raise RuntimeError("the table is damaged")
        return pd.DataFrame(columns=["timestamp"])

    def events(self, person: Person, now: datetime, days: int) -> list[dict[str, Any]]:
        return [line(1, "i01", 2.5)]

    def triggers(self, person: Person, limit: int) -> list[dict[str, Any]]:
        return [
            {
                "id": "trg_1", "position": 1, "timestamp": NOW, "contact_id": "c1", "rule": "fall",
                "before": "a", "after": "b", "facts": {},
            }
        ]  # fmt: skip


def whole(shop: Any, past: Any) -> Any:
    parts = Parts(**{**shop.parts().__dict__, "past": past})
    card = Answers(parts, Rules(rules=())).contact_card("c1", NOW)
    assert card is not None
    return card


def test_the_whole_card_has_past_and_future_and_decides_nothing(shop: Any) -> None:
    shop.champions.models["next-purchase"] = shop.ranks(["i02", "i04", "i06", "i08"])
    shop.champions.simulated.add("next-purchase")
    card = whole(shop, Past())
    assert card.ids == ["c1", "old", "v1"]
    assert [step.at for step in card.path] == [NOW]
    assert [item.title for item in card.timeline[0].items] == ["Item 1"]
    assert card.triggers[0].rule == "fall"
    product, channel = card.next_best.product, card.next_best.channel
    assert [item.item_id for item in product.items] == ["i02", "i04", "i06"]
    assert (product.source, product.fallback) == ("ranked", None)
    assert (channel.source, channel.fallback) == ("default", "no_message_history")
    assert card.simulated == ["nextbest-next-purchase/1"]
    assert shop.decisions == []


def test_what_cannot_be_had_is_null_and_keeps_nothing_away(
    shop: Any, caplog: pytest.LogCaptureFixture
) -> None:
    card = whole(shop, Past(broken=True))
    assert (card.path, card.tags, card.worth) == (None, None, None)
    assert card.timeline
    assert "without path" in caplog.text
    card = whole(shop, None)
    assert (card.ids, card.path, card.timeline, card.triggers) == (None, None, None, None)
    shop.frame = None
    card = whole(shop, Past())
    assert (card.next_best.product.items, card.next_best.product.fallback) == ([], "no_catalogue")


def test_the_short_card_looks_nothing_up(shop: Any) -> None:
    parts = Parts(**{**shop.parts().__dict__, "past": Past(broken=True)})
    card = Answers(parts, Rules(rules=())).contact_card("c1", NOW, whole=False)
    assert card is not None
    assert (card.next_best, card.timeline) == (None, None)
    assert rows_of(parts.people.many(["c1"], NOW, parts.patience()))["orders_total"].tolist() == [6.0]


def test_of_whom_only_a_consent_is_known_there_is_a_card_too(shop: Any) -> None:
    columns = shop.contacts.columns
    shop.contacts = pd.DataFrame([{"contact_id": "c9", "consent_email": True}]).reindex(columns=columns)
    parts = Parts(**{**shop.parts().__dict__, "past": Past()})
    card = Answers(parts, Rules(rules=())).contact_card("c9", NOW)
    assert card is not None
    assert card.consents["email"].consent is True
    assert (card.stage, card.engagement.half, card.engagement.index) == ("lead", "before", 0.0)
    assert (card.segment, card.worth) == (None, None)
    assert [(step.segment, step.orders) for step in card.path or []] == [(None, 0)]
    assert card.next_best is not None
    assert card.next_best.product is not None
