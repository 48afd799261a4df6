"""Segment's protocol: one message becomes canonical rows, what is said of a contact, and a link.

Pure: no clock, no store. The specs are Segment's: spec/common, spec/ecommerce/v2, spec/email, spec/mobile.
"""

import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from zoneinfo import available_timezones

from pydantic_core import to_json

from features.events._addresses import json_without, properties_without, text_without, traits_without
from features.events._consents import consents
from features.events._context import CONTEXT, kept
from features.events._micros import MICROSECOND, micros
from features.events._segment_names import canonical, snake_case
from features.events.schema import MOST_AMOUNT, NEWEST, OLDEST
from nextbest.columns import CONTACT_ID, EVENT_COLUMNS, EVENT_ID, ORDER_COMPLETED, ORDER_REFUNDED, TIMESTAMP

TYPES = ("track", "identify", "page", "screen", "alias", "group")
EVENT_BYTES = 32 * 1024
"""A message's JSON at most."""
LONGEST_ID = 200
_ZONES = frozenset(available_timezones())
_ORDERS = (ORDER_COMPLETED, ORDER_REFUNDED)
_A_ROW_A_PRODUCT = (*_ORDERS, "product_viewed", "product_clicked", "product_added", "product_removed")
_ITEM = ("product_id", "productId", "item_id", "itemId", "sku", "id")
_LISTS = ("products", "items")
_ORDER = ("order_id", "orderId", "transaction_id", "transactionId")
_CAMPAIGN = ("campaign_id", "campaignId")
_MESSAGE = ("message_id", "messageId", "email_id", "emailId", "notification_id", "sms_id")
_URL = ("url", "link_url", "linkUrl", "deep_link")

Message = Mapping[str, Any]


class Unusable(Exception):
    """A message that can never be stored; the text says why and what would do."""


@dataclass(slots=True)
class Arrival:
    """What messages become: rows of EVENT_COLUMNS, contacts, links. Times are microseconds since 1970."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    contacts: list[dict[str, Any]] = field(default_factory=list)
    """CONTACT_COLUMNS that are said, and `timestamp`, when."""
    links: list[dict[str, Any]] = field(default_factory=list)
    """IDENTITY_COLUMNS."""

    def __len__(self) -> int:
        return len(self.rows) + len(self.contacts) + len(self.links)


def translate(message: Message, kind: Any, received_at: datetime, sent_at: Any = None) -> Arrival:
    """Return what a message says. Raises Unusable.

    `kind`: one of TYPES. `sent_at`: the batch's, where the message has none of its own.
    """
    if kind not in TYPES:
        raise Unusable(f"type {_short(kind)} is not one of {', '.join(TYPES)}")
    said = _Said(message, received_at, sent_at)
    arrival = Arrival()
    if kind in ("track", "page", "screen"):
        arrival.rows = list(_rows(said, kind))
    elif kind == "identify":
        _identify(said, arrival)
    elif kind == "group":
        _group(said, arrival)
    else:
        _alias(said, arrival)
    return arrival


class _Said:
    """What every message has: who, when, and its own id."""

    def __init__(self, message: Message, received_at: datetime, sent_at: Any) -> None:
        self.message = message
        self.contact_id = identifier(message.get("userId"), "userId")
        self.anonymous_id = identifier(message.get("anonymousId"), "anonymousId")
        self.context = _object(message.get("context"), "context")
        self.received = micros(received_at)
        self.timestamp = _when(message, received_at, sent_at)

    def who(self) -> None:
        if self.contact_id is None and self.anonymous_id is None:
            raise Unusable("neither userId nor anonymousId")

    def message_id(self) -> str:
        """Return the sender's messageId, else one made of the content, so that the same again is the same."""
        given = identifier(self.message.get("messageId"), "messageId")
        if given is not None:
            return given
        if self.message.get("timestamp") or self.message.get("originalTimestamp"):
            content = {key: value for key, value in self.message.items() if key != "sentAt"}
            return sha256(to_json(content, inf_nan_mode="null")).hexdigest()[:32]
        return uuid.uuid4().hex


def identifier(value: Any, name: str) -> str | None:
    """Return an id as text; None for null and "". Raises Unusable for what is no id."""
    if value is None or value == "":
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Unusable(f"{name} is to be text or a number, not {_short(value)}")
    text = str(value)
    if len(text) > LONGEST_ID:
        raise Unusable(f"{name} is longer than {LONGEST_ID} characters")
    if "\x00" in text:
        raise Unusable(f"{name} holds a NUL character")
    return text


# --- events


def _rows(said: _Said, kind: str) -> Iterator[dict[str, Any]]:
    said.who()
    properties = _object(said.message.get("properties"), "properties")
    event, channel = _named(said.message, kind, properties)
    lines = _lines(event, properties)
    common = dict.fromkeys(EVENT_COLUMNS) | {
        "event": event, TIMESTAMP: said.timestamp, "received_at": said.received, CONTACT_ID: said.contact_id,
        "anonymous_id": said.anonymous_id, "channel": channel,
    }  # fmt: skip
    base = {key: value for key, value in properties.items() if not (lines and key in _LISTS)}
    context = {CONTEXT: told} if (told := kept(said.context)) else {}
    message_id = said.message_id()
    for number, line in enumerate(lines or [{}], 1):
        row = common | _columns(base, line, said.context, event)
        if event in _ORDERS:
            where = f"products[{number - 1}] of the order" if lines else "an order"
            if row["item_id"] is None:
                raise Unusable(f"{where} has no product_id; send products: [{{product_id, quantity, price}}]")
            if row["order_id"] is None:
                raise Unusable("an order without order_id")
        row[EVENT_ID] = message_id if len(lines) < 2 else f"{message_id}:{number}"
        row["channel"] = row["channel"] or channel
        row["properties"] = json_without(properties_without(base | line) | context)
        yield row


def _named(message: Message, kind: str, properties: dict[str, Any]) -> tuple[str, str | None]:
    if kind == "track":
        name = message.get("event")
        if not isinstance(name, str) or not name.strip():
            raise Unusable("a track call needs event, a name")
        event, channel = canonical(name[:LONGEST_ID])
        if not event:
            raise Unusable(f"event {_short(name)} has no Latin letter or digit to be named by")
        return event, channel
    named = {"name": message.get("name"), "category": message.get("category")}
    for key, value in named.items():
        if value:
            properties.setdefault(key, value)
    return "page_viewed", None


def _lines(event: str, properties: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the products an event is about, a row each; none where it has no list of them."""
    if event not in _A_ROW_A_PRODUCT:
        return []
    listed: Any = next((properties[name] for name in _LISTS if properties.get(name)), [])
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise Unusable("products is to be a list of objects")
    return listed


def _columns(base: Message, line: Message, context: Message, event: str) -> dict[str, Any]:
    """Return the columns a product line, the properties and the context fill, in this order of precedence."""
    page, utm = _object(context.get("page"), "page"), _named_one(context.get("campaign"))
    both = {**base, **line} if line else base
    named = _ITEM if line or event in _A_ROW_A_PRODUCT else _ITEM[:-1]  # "id" may be anything's elsewhere
    columns: dict[str, Any] = {
        "item_id": identifier(_first(line or base, named), "product_id"),
        "order_id": identifier(_first(base, _ORDER), "order_id"),
        "quantity": _amount(both.get("quantity"), "quantity"),
        "price": _amount(both.get("price"), "price"),
        "currency": _text(both.get("currency")),
        "campaign_id": _text(_first(base, _CAMPAIGN) or _named_one(base.get("campaign")) or utm),
        "message_id": _text(_first(base, _MESSAGE)),
        "url": _url(_first(line, _URL) or _first(base, _URL) or page.get("url")),
    }  # fmt: skip
    channel = _text(base.get("channel"))
    columns["channel"] = snake_case(channel) or None if channel else None
    return columns


def _first(given: Message, names: Sequence[str]) -> Any:
    for name in names:
        value = given.get(name)
        if value is not None and value != "":
            return value
    return None


def _named_one(value: Any) -> Any:
    """Return a campaign's id or name: text, or an object as the campaign of a context."""
    return _first(value, ("id", "name")) if isinstance(value, dict) else value


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, bool | dict | list) or value == "":
        return None
    return text_without(str(value).replace("\x00", ""))[:LONGEST_ID]


def _url(value: Any) -> str | None:
    return text_without(value.replace("\x00", ""))[:2000] if isinstance(value, str) and value else None


def _amount(value: Any, name: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 <= number <= MOST_AMOUNT:  # not so for NaN either
        raise Unusable(f"{name} {_short(value)} is not a number from zero to {MOST_AMOUNT:,.0f}")
    return number


# --- who is who


def _identify(said: _Said, arrival: Arrival) -> None:
    said.who()
    if said.contact_id is None:
        return  # traits of nobody known: nothing to keep them with
    arrival.contacts.append(_contact(said, said.contact_id))
    if said.anonymous_id is not None:
        arrival.links.append(_link(said.anonymous_id, said.contact_id, said.timestamp, alias=False))


def _contact(said: _Said, contact_id: str) -> dict[str, Any]:
    given = {
        **_object(said.context.get("traits"), "context.traits"),
        **_object(said.message.get("traits"), "traits"),
    }
    flags, traits = consents(given)
    named = traits.get("timezone")
    timezone = named if named else said.context.get("timezone")
    if not _is_zone(timezone):  # the zone known before stands; what a trait said is kept to be read
        timezone = None
    if timezone is not None or not named:
        traits.pop("timezone", None)
    created = _first(traits, ("createdAt", "created_at"))
    for name in ("createdAt", "created_at", "anonymousId", "userId", "id"):
        traits.pop(name, None)
    return {
        CONTACT_ID: contact_id,
        TIMESTAMP: said.timestamp,
        "created_at": _micros_of(created),
        "timezone": _text(timezone),
        "traits": json_without(traits_without(traits)),
        **flags,
    }


def _is_zone(name: Any) -> bool:
    return isinstance(name, str) and name in _ZONES


def _group(said: _Said, arrival: Arrival) -> None:
    said.who()
    group = identifier(said.message.get("groupId"), "groupId")
    if group is None:
        raise Unusable("a group call needs groupId")
    if said.contact_id is not None:
        traits = to_json({"group_id": group}).decode()
        arrival.contacts.append({CONTACT_ID: said.contact_id, TIMESTAMP: said.timestamp, "traits": traits})


def _alias(said: _Said, arrival: Arrival) -> None:
    previous = identifier(said.message.get("previousId"), "previousId") or said.anonymous_id
    if said.contact_id is None or previous is None:
        raise Unusable("an alias needs userId, and previousId or anonymousId")
    if previous != said.contact_id:
        arrival.links.append(_link(previous, said.contact_id, said.timestamp, alias=True))


def _link(anonymous_id: str, contact_id: str, timestamp: int, alias: bool) -> dict[str, Any]:
    return {"anonymous_id": anonymous_id, CONTACT_ID: contact_id, TIMESTAMP: timestamp, "alias": alias}


# --- when


def _when(message: Message, received_at: datetime, sent_at: Any) -> int:
    """Return the message's time by our clock: received - (sent - said), as Segment documents it."""
    said = _first(message, ("timestamp", "originalTimestamp"))
    if said is None:
        return micros(received_at)
    moment, now = _micros_of(said), micros(received_at)
    if moment is None:
        raise Unusable(f"timestamp {_short(said)} is not an ISO 8601 time")
    sent = _micros_of(message.get("sentAt") or sent_at)
    if sent is not None:
        moment += now - sent
    if not now - OLDEST // MICROSECOND <= moment <= now + NEWEST // MICROSECOND:
        raise Unusable(f"timestamp {_short(said)} is outside 38 years before now to a day after")
    return moment


def _read(value: Any) -> datetime | None:
    """Return an ISO 8601 time, UTC where it names no zone; None for what is none."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _micros_of(value: Any) -> int | None:
    moment = _read(value)
    return None if moment is None else micros(moment)


def _object(value: Any, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Unusable(f"{name} is to be an object, not {_short(value)}")
    return dict(value)


def _short(value: Any) -> str:
    return "'" + text_without(str(value)[:60]) + "'"
