"""Segment's protocol: what a message becomes, and what is refused."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from features.events._segment_names import canonical
from features.events.schema import EVENT_NAME, validate_events
from features.events.segment import Arrival, Unusable, translate
from nextbest.columns import EVENT_COLUMNS

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def micros(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)


def track(event: Any, properties: Any = None, **message: Any) -> list[dict[str, Any]]:
    said = {"messageId": "m", "userId": "u", "event": event, "properties": properties, **message}
    return translate(said, "track", NOW).rows


def identify(traits: dict[str, Any], **message: Any) -> Arrival:
    return translate({"userId": "u", "traits": traits, **message}, "identify", NOW)


@pytest.mark.parametrize(
    ("name", "event", "channel"),
    [
        ("Order Completed", "order_completed", None), ("purchase", "order_completed", None),
        ("Completed Order", "order_completed", None), ("orderRefunded", "order_refunded", None),
        ("view_item", "product_viewed", None), ("Viewed Product", "product_viewed", None),
        ("add_to_cart", "product_added", None), ("begin_checkout", "checkout_started", None),
        ("Products Searched", "products_searched", None), ("page_view", "page_viewed", None),
        ("Email Sent", "message_sent", "email"), ("Email Delivered", "message_delivered", "email"),
        ("Email Opened", "message_opened", "email"), ("Email Link Clicked", "message_clicked", "email"),
        ("Email Bounced", "message_bounced", "email"), ("Unsubscribed", "unsubscribed", "email"),
        ("Email Marked as Spam", "unsubscribed", "email"), ("SMS Sent", "message_sent", "sms"),
        ("SMS Link Clicked", "message_clicked", "sms"), ("SMSDelivered", "message_delivered", "sms"),
        ("Push Notification Received", "message_delivered", "mobile_push"),
        ("Push Notification Tapped", "message_clicked", "mobile_push"),
        ("Push Notification Bounced", "message_bounced", "mobile_push"),
        ("Web Push Sent", "message_sent", "web_push"),
        ("Recommendation Clicked", "recommendation_clicked", None),
        ("Añadido a favoritos!", "anadido_a_favoritos", None), ("2FA enabled", "event_2fa_enabled", None),
        ("Заказ", "", None),
    ],
)  # fmt: skip
def test_names(name: str, event: str, channel: str | None) -> None:
    assert canonical(name) == (event, channel)


def test_an_order_is_a_row_a_product() -> None:
    products = [
        {"product_id": "milk", "quantity": 2, "price": "1.50"},
        {"sku": "bread", "quantity": "1", "price": 2},
    ]
    rows = track("Order Completed", {"order_id": 17, "currency": "EUR", "coupon": "X", "products": products})
    assert [row["event_id"] for row in rows] == ["m:1", "m:2"]
    assert [(r["order_id"], r["item_id"], r["quantity"], r["price"], r["currency"]) for r in rows] == [
        ("17", "milk", 2.0, 1.5, "EUR"), ("17", "bread", 1.0, 2.0, "EUR"),
    ]  # fmt: skip
    assert json.loads(rows[1]["properties"])["coupon"] == "X"
    assert "products" not in json.loads(rows[0]["properties"])
    (one,) = track("Order Completed", {"order_id": "o", "products": products[:1]})
    assert one["event_id"] == "m"
    assert track("purchase", {"transaction_id": "t", "items": [{"item_id": "milk"}]})[0]["order_id"] == "t"


def test_rows_are_canonical() -> None:
    rows = [
        *track("Product Viewed", {"product_id": "p", "price": 3, "url": "https://x.org/p"}),
        *track("view_item", {"currency": "EUR", "items": [{"item_id": "p"}, {"item_id": "q"}]}),
        *track("Anything At All", {"id": "not a product"}),
        *track("Order Completed", {"order_id": "o", "products": [{"product_id": "p"}] * 3}),
        *translate({"messageId": "pg", "anonymousId": "v", "name": "Home"}, "page", NOW).rows,
        *translate({"messageId": "sc", "userId": 7, "name": "Home"}, "screen", NOW).rows,
    ]
    assert {frozenset(row) for row in rows} == {frozenset(EVENT_COLUMNS)}
    frame = pd.DataFrame(rows)
    frame["event_id"] = [f"{n}" for n in range(len(frame))]
    for name in ("timestamp", "received_at"):
        frame[name] = pd.to_datetime(frame[name], unit="us", utc=True)
    good, bad = validate_events(frame, NOW)
    assert bad.empty
    assert len(good) == 9
    assert frame["event"].str.fullmatch(EVENT_NAME).all()
    assert frame["item_id"].tolist()[3] is None


def test_a_page_knows_where_it_is() -> None:
    context = {"page": {"url": "https://x.org/?email=ann%40b.org"}, "campaign": {"name": "spring"}}
    (row,) = translate({"userId": "u", "context": context, "name": "Home"}, "page", NOW).rows
    assert (row["event"], row["url"], row["campaign_id"]) == (
        "page_viewed",
        "https://x.org/?email=***",
        "spring",
    )
    assert json.loads(row["properties"]) == {"name": "Home"}


@pytest.mark.parametrize(
    ("said", "sent", "expected"),
    [
        ({"timestamp": "2026-03-01T11:00:00Z"}, None, NOW - timedelta(hours=1)),
        ({"originalTimestamp": "2026-03-01T12:00:00+01:00"}, None, NOW - timedelta(hours=1)),
        ({"timestamp": None, "originalTimestamp": "2026-03-01T11:00:00"}, None, NOW - timedelta(hours=1)),
        # the sender's clock is two days behind
        ({"timestamp": "2026-02-27T11:59:00Z", "sentAt": "2026-02-27T12:00:00.000Z"}, None,
         NOW - timedelta(minutes=1)),
        ({"timestamp": "2030-01-01T00:00:00Z"}, "2030-01-01T00:00:30Z", NOW - timedelta(seconds=30)),
        ({"timestamp": "2026-03-01T11:00:00Z", "sentAt": "nonsense"}, None, NOW - timedelta(hours=1)),
        ({}, "2020-01-01T00:00:00Z", NOW),
    ],
)  # fmt: skip
def test_clocks_that_are_wrong_are_corrected(said: Any, sent: Any, expected: datetime) -> None:
    (row,) = translate({"userId": "u", "event": "x", **said}, "track", NOW, sent).rows
    assert row["timestamp"] == micros(expected)


def test_the_same_message_makes_the_same_id() -> None:
    said = {"userId": "u", "event": "x", "timestamp": "2026-03-01T11:00:00Z"}
    first, again, other = (
        translate(message, "track", NOW).rows[0]["event_id"]
        for message in (said, {**said, "sentAt": "2026-03-01T11:00:01Z"}, {**said, "event": "y"})
    )
    assert first == again != other


def test_identify_keeps_consents_and_no_address() -> None:
    traits = {
        "email": "ann@b.org", "phone": "+49 30 1", "firstName": "Ann", "name": "Ann B", "plan": "gold",
        "address": {"city": "Berlin"}, "note": "write to ann.b+x@b.org", "company": {"name": "B", "size": 3},
        "consent_email": True, "smsOptIn": "no", "consents": {"push": "granted", "post": False},
        "timezone": "Europe/Berlin", "createdAt": "2020-01-01T00:00:00Z", "reachable_sms": True,
    }  # fmt: skip
    arrival = identify(traits, anonymousId="v")
    (contact,), (link,) = arrival.contacts, arrival.links
    assert json.loads(contact["traits"]) == {"plan": "gold", "note": "write to ***", "company": {"size": 3}}
    flags = {name: value for name, value in contact.items() if name.startswith(("consent", "reach"))}
    assert flags == {
        "consent_email": True, "consent_sms": False, "consent_mobile_push": True, "consent_post": False,
        "reachable_sms": True,
    }  # fmt: skip
    assert (contact["contact_id"], contact["timezone"]) == ("u", "Europe/Berlin")
    assert contact["created_at"] == micros(datetime(2020, 1, 1, tzinfo=UTC))
    assert (link["anonymous_id"], link["contact_id"], link["alias"]) == ("v", "u", False)
    assert arrival.rows == []


def test_events_keep_no_address_either() -> None:
    said = {
        "email": "a@b.org",
        "form": {"Phone Number": "1", "field": "x"},
        "name": "Contact us",
        "to": "a@b.org",
    }
    (row,) = track("Form Submitted", said)
    assert json.loads(row["properties"]) == {"form": {"field": "x"}, "name": "Contact us", "to": "***"}


def test_alias_and_group() -> None:
    (link,) = translate({"userId": "b", "previousId": "a"}, "alias", NOW).links
    assert (link["anonymous_id"], link["contact_id"], link["alias"]) == ("a", "b", True)
    assert len(translate({"userId": "a", "previousId": "a"}, "alias", NOW)) == 0
    (contact,) = translate({"userId": "u", "groupId": 5}, "group", NOW).contacts
    assert json.loads(contact["traits"]) == {"group_id": "5"}


@pytest.mark.parametrize(
    ("kind", "message", "reason"),
    [
        ("hop", {"userId": "u"}, "type 'hop' is not one of track, identify"),
        (None, {"userId": "u"}, "type 'None'"),
        ("track", {"userId": "", "anonymousId": None, "event": "x"}, "neither userId nor anonymousId"),
        ("track", {"userId": "u"}, "needs event"),
        ("track", {"userId": "u", "event": "Заказ"}, "no Latin letter"),
        ("track", {"userId": {"a": 1}, "event": "x"}, "userId is to be text"),
        ("track", {"userId": True, "event": "x"}, "userId is to be text"),
        ("track", {"userId": "u" * 201, "event": "x"}, "longer than 200"),
        ("track", {"userId": "u\x00", "event": "x"}, "NUL"),
        ("track", {"userId": "u", "event": "x", "properties": [1]}, "properties is to be an object"),
        ("track", {"userId": "u", "event": "x", "timestamp": "yesterday"}, "not an ISO 8601 time"),
        ("track", {"userId": "u", "event": "x", "timestamp": 1700000000}, "not an ISO 8601 time"),
        ("track", {"userId": "u", "event": "x", "timestamp": "1980-01-01T00:00:00Z"}, "outside 38 years"),
        ("track", {"userId": "u", "event": "x", "timestamp": "9999-12-31T23:59:59Z",
                   "sentAt": "0001-01-01T00:00:00Z"}, "outside"),
        ("track", {"userId": "u", "event": "purchase", "properties": {"order_id": "o"}}, "no product_id"),
        ("track", {"userId": "u", "event": "Order Completed",
                   "properties": {"order_id": "o", "products": [{"product_id": "p"}, {}]}}, r"products\[1\]"),
        ("track", {"userId": "u", "event": "purchase", "properties": {"items": [{"sku": "p"}]}},
         "without order_id"),
        ("track", {"userId": "u", "event": "purchase", "properties": {"items": "milk"}}, "list of objects"),
        ("track", {"userId": "u", "event": "Product Viewed", "properties": {"price": -1}}, "price '-1'"),
        ("track", {"userId": "u", "event": "Product Viewed", "properties": {"price": float("inf")}}, "price"),
        ("track", {"userId": "u", "event": "Product Viewed", "properties": {"quantity": "many"}}, "quantity"),
        ("identify", {}, "neither"),
        ("alias", {"userId": "u"}, "previousId"),
        ("group", {"userId": "u"}, "groupId"),
    ],
)  # fmt: skip
def test_what_can_never_be_stored_says_why(kind: Any, message: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        translate(message, kind, NOW)


@pytest.mark.parametrize("zone", ["PST8", "america/los_angeles", "UTC+2", "Mars/Base", 5])
def test_a_zone_that_is_none_is_kept_to_be_read_and_replaces_none(zone: Any) -> None:
    said = {"userId": "c", "traits": {"timezone": zone}, "messageId": "m"}
    (contact,) = translate(said, "identify", NOW).contacts
    assert contact["timezone"] is None
    assert json.loads(contact["traits"])["timezone"] == zone
