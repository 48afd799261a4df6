"""The canonical schema: what passes, what is rejected and with which words."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.events.schema import validate_contacts, validate_events, validate_identities, validate_items
from nextbest.columns import EVENT_COLUMNS

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)


def row(**values: Any) -> dict[str, Any]:
    base = {"event_id": "e", "event": "page_viewed", "timestamp": "2024-05-01T10:00:00Z", "contact_id": "c"}
    return base | values


def reason(**values: Any) -> str:
    good, rejects = validate_events(pd.DataFrame([row(event_id="fine"), row(**values)]), NOW)
    assert good["event_id"].tolist() == ["fine"]
    assert rejects.index.tolist() == [1]
    said: str = rejects["reason"].iloc[0]
    return said


def accepted(**values: Any) -> dict[str, Any]:
    good, rejects = validate_events(pd.DataFrame([row(**values)]), NOW)
    assert rejects.empty, rejects["reason"].iloc[0]
    return {str(name): value for name, value in good.iloc[0].items()}


def test_a_sparse_row_becomes_canonical() -> None:
    good, rejects = validate_events(pd.DataFrame([row()]), NOW)
    assert tuple(good.columns) == EVENT_COLUMNS
    assert str(good["timestamp"].dtype) == "datetime64[us, UTC]"
    assert good["received_at"].iloc[0] == pd.Timestamp(NOW)
    assert good["price"].dtype == float
    assert list(rejects.columns) == ["event_id", "event", "timestamp", "contact_id", "reason"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"event": "Page Viewed"}, "event is not a snake_case name"),
        ({"event": ""}, "event is missing"),
        ({"event_id": None}, "event_id is missing"),
        ({"contact_id": ""}, "neither contact_id nor anonymous_id"),
        ({"timestamp": "yesterday"}, "timestamp 'yesterday' is not an ISO 8601 time"),
        ({"timestamp": None}, "timestamp is missing"),
        ({"timestamp": NOW + timedelta(days=2)}, "timestamp is outside 1986-06-02 to 2024-06-02"),
        ({"timestamp": "1970-01-01"}, "timestamp is outside 1986-06-02 to 2024-06-02"),
        ({"quantity": -1}, "quantity is negative, not finite or above 1,000,000,000"),
        ({"price": float("inf")}, "price is negative, not finite or above 1,000,000,000"),
        ({"quantity": "two"}, "quantity 'two' is not a number"),
        ({"event": "order_completed", "item_id": "i"}, "an order line without order_id"),
        ({"event": "order_refunded", "order_id": "o"}, "an order line without item_id"),
        ({"properties": "[1]"}, "properties is not a JSON object"),
    ],
)
def test_the_reason_says_what_is_wrong(values: dict[str, Any], expected: str) -> None:
    assert reason(**values) == expected


def test_several_faults_are_all_named() -> None:
    assert (
        reason(contact_id=None, event="X")
        == "event is not a snake_case name; neither contact_id nor anonymous_id"
    )


def test_zero_and_missing_amounts_are_fine() -> None:
    assert accepted(quantity=0, price=0)["price"] == 0
    assert pd.isna(accepted(quantity=None)["quantity"])


def test_ids_are_text_even_from_float_columns() -> None:
    good, _ = validate_events(pd.DataFrame([row(item_id=7.0), row(item_id=None), row(item_id=1e15)]), NOW)
    assert good["item_id"].fillna("").tolist() == ["7", "", "1000000000000000"]
    assert accepted(contact_id=12)["contact_id"] == "12"


def test_zones_are_converted_and_naive_times_are_utc() -> None:
    assert accepted(timestamp="2024-05-01T12:00:00+02:00")["timestamp"] == pd.Timestamp("2024-05-01T10:00Z")
    assert accepted(timestamp=pd.Timestamp("2024-05-01T10:00"))["timestamp"] == pd.Timestamp(
        "2024-05-01T10:00Z"
    )


def test_unknown_columns_become_properties_and_known_properties_win() -> None:
    held = json.loads(accepted(properties='{"a":1}', a=2, size="L")["properties"])
    assert held == {"a": 1, "size": "L"}
    assert json.loads(accepted(properties={"b": [1]})["properties"]) == {"b": [1]}


def test_an_empty_frame_stays_empty() -> None:
    good, rejects = validate_events(pd.DataFrame([row()]).iloc[:0], NOW)
    assert good.empty
    assert rejects.empty


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["ok", "bad_event", "no_contact", "no_time"]), max_size=30))
def test_every_row_comes_out_exactly_once(kinds: list[str]) -> None:
    faults: dict[str, dict[str, Any]] = {
        "ok": {},
        "bad_event": {"event": "No"},
        "no_contact": {"contact_id": None},
        "no_time": {"timestamp": "?"},
    }
    frame = pd.DataFrame([row(**faults[kind]) for kind in kinds], columns=list(row()))
    good, rejects = validate_events(frame, NOW)
    assert sorted([*good.index, *rejects.index]) == list(range(len(kinds)))
    assert [kinds[i] for i in good.index] == ["ok"] * len(good)


def test_items_contacts_and_links_have_keys() -> None:
    items, bad = validate_items(
        pd.DataFrame([{"item_id": "i", "price": "2.5", "hidden": "yes"}, {"price": -1}])
    )
    assert items["price"].tolist() == [2.5]
    assert items["hidden"].tolist() == [True]
    (reason,) = bad["reason"]
    assert reason == "item_id is missing; price is negative, not finite or above 1,000,000,000"
    _, bad = validate_contacts(pd.DataFrame([{"contact_id": 5, "consent_email": 0, "traits": "nonsense"}]))
    assert bad["reason"].tolist() == ["traits is not a JSON object"]
    links, bad = validate_identities(pd.DataFrame([{"anonymous_id": "a", "contact_id": None}]))
    assert len(links) == 0
    assert bad["reason"].tolist() == ["contact_id is missing"]


def test_flags_that_are_none_are_said() -> None:
    _, bad = validate_contacts(pd.DataFrame([{"contact_id": "c", "consent_sms": "maybe"}]))
    assert bad["reason"].tolist() == ["consent_sms 'maybe' is not true or false"]
