"""What is taken, what is refused, and in which words."""

import json

import pytest
from pydantic import ValidationError

from serving.refused import Refused, parse
from serving.schemas import (
    BestChannelRequest,
    BoughtTogetherRequest,
    ItemReason,
    PredictionsRequest,
    RecommendationsRequest,
    Request,
)


def refusal(model: type[Request], body: bytes | dict[str, object]) -> str:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(Refused) as refused:
        parse(model, raw)
    assert refused.value.status == 400
    return refused.value.message


def test_an_empty_body_asks_for_an_unknown_visitor() -> None:
    asked = parse(RecommendationsRequest, b"")
    assert (asked.contact_id, asked.anonymous_id, asked.placement, asked.k) == (None, None, "home", 10)


def test_null_means_absent_and_numbers_are_ids() -> None:
    body = {"contact_id": 17, "k": None, "item_ids": [1, "1", 2], "exclude_ids": None, "category": None}
    asked = parse(RecommendationsRequest, json.dumps(body).encode())
    assert (asked.contact_id, asked.k, asked.item_ids, asked.exclude_ids) == ("17", 10, ["1", "2"], [])


@pytest.mark.parametrize(
    ("model", "body", "says"),
    [
        (RecommendationsRequest, {"kk": 3}, "unknown field 'kk'; known: contact_id, anonymous_id"),
        (RecommendationsRequest, {"k": 0}, "'k'"),
        (RecommendationsRequest, {"k": 101}, "'k'"),
        (RecommendationsRequest, {"k": "many"}, "'k'"),
        (RecommendationsRequest, {"k": 1.5}, "'k'"),
        (RecommendationsRequest, {"placement": "shop"}, "'home', 'product', 'cart'"),
        (RecommendationsRequest, {"contact_id": ""}, "'contact_id'"),
        (RecommendationsRequest, {"contact_id": "x" * 201}, "'contact_id'"),
        (RecommendationsRequest, {"contact_id": "a\x00b"}, "'contact_id'"),
        (RecommendationsRequest, {"contact_id": ["a"]}, "'contact_id'"),
        (RecommendationsRequest, {"item_ids": "a"}, "'item_ids'"),
        (RecommendationsRequest, {"item_ids": [{}]}, "'item_ids[0]'"),
        (RecommendationsRequest, {"item_ids": [f"i{n}" for n in range(101)]}, "at most 100"),
        (RecommendationsRequest, {"max_per_category": 0}, "'max_per_category'"),
        (RecommendationsRequest, {"horizon_days": 366}, "'horizon_days'"),
        (RecommendationsRequest, {"show": "same", "placement": "product"}, "'both', 'complements'"),
        (RecommendationsRequest, {"show": "alternatives"}, "'show' is for placement product, not home"),
        (RecommendationsRequest, {"no_repeat_days": 3}, "'no_repeat_days' is for placement email, not home"),
        (RecommendationsRequest, [], "to be a JSON object"),
        (RecommendationsRequest, 7, "to be a JSON object"),
        (RecommendationsRequest, b"{", "the body is not JSON"),
        (RecommendationsRequest, b'{"k": 3}}', "the body is not JSON"),
        (RecommendationsRequest, b"\xff\xfe", "the body is not JSON"),
        (RecommendationsRequest, b'{"contact_id": "\\ud800"}', "the body is not JSON"),
        (RecommendationsRequest, b'{"k": NaN}', "'k'"),
        (BoughtTogetherRequest, {}, "'item_ids' is needed"),
        (BoughtTogetherRequest, {"item_ids": []}, "'item_ids'"),
        (BestChannelRequest, {}, "'contact_ids' is needed"),
        (BestChannelRequest, {"contact_ids": [f"c{n}" for n in range(1001)]}, "at most 1000"),
        (BestChannelRequest, {"contact_ids": ["c"], "channels": ["pigeon"]}, "'email'"),
        (BestChannelRequest, {"contact_ids": ["c"], "channels": []}, "'channels'"),
        (BestChannelRequest, {"contact_ids": ["c"], "at": "2026-01-01T00:00:00"}, "'at'"),
        (BestChannelRequest, {"contact_ids": ["c"], "value": -1}, "'value'"),
        (BestChannelRequest, b'{"contact_ids": ["c"], "value": Infinity}', "'value'"),
        (PredictionsRequest, {"contact_ids": ["c"], "tasks": ["chrun"]}, "'churn', 'value' or 'next_order'"),
    ],
)
def test_refusals_name_the_field_and_what_would_work(model: type[Request], body: object, says: str) -> None:
    assert says in refusal(model, body)  # type: ignore[arg-type]


def test_messages_stay_short_however_long_the_input() -> None:
    assert len(refusal(RecommendationsRequest, {"placement": "x" * 10_000, "y" * 5000: 1})) < 1000


def test_every_bound_is_reached_without_refusal() -> None:
    ids = ["x" * 197 + f"{n:03d}" for n in range(100)]
    assert parse(RecommendationsRequest, json.dumps({"item_ids": ids, "k": 100}).encode()).k == 100
    many = [f"c{n}" for n in range(1000)]
    assert len(parse(PredictionsRequest, json.dumps({"contact_ids": many}).encode()).contact_ids) == 1000


def test_a_reason_is_not_one_without_what_its_kind_promises() -> None:
    with pytest.raises(ValidationError, match="a reason due says usual_days, overdue"):
        ItemReason(kind="due", because={"last_days_ago": 3.0})
