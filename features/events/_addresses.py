"""No address is ever stored: names, addresses and numbers that people are reached at are left out."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from features.events._segment_names import snake_case

ADDRESSES = frozenset((
    "address", "addresses", "street", "street_address", "house_number", "zip", "zip_code", "postal_code",
    "postcode", "billing_address", "shipping_address", "delivery_address",
    "email", "e_mail", "email_address", "mail", "emails",
    "phone", "phone_number", "phones", "mobile", "mobile_number", "mobile_phone", "telephone", "tel", "fax",
    "sms_number", "whatsapp", "device_token", "push_token", "fcm_token", "apns_token",
    "ip", "ip_address",
))  # fmt: skip
"""Keys, in snake_case, that are dropped wherever they stand."""
NAMES = frozenset((
    "name", "full_name", "first_name", "last_name", "middle_name", "given_name", "family_name", "maiden_name",
    "surname", "username", "user_name", "display_name", "nickname", "avatar", "photo", "birthday",
    "birth_date", "date_of_birth", "dob", "ssn", "passport", "iban", "credit_card", "card_number",
))  # fmt: skip
"""Keys dropped from traits besides; a product or a page may have a name."""
_NAMES_OF_PEOPLE = NAMES - {"name", "photo"}
_EMAIL = re.compile(r"[\w.+-]+(?:@|%40)[\w-]+(?:\.[\w-]+)+", re.IGNORECASE)
_MOST_LEVELS = 20


def traits_without(traits: Mapping[str, Any]) -> dict[str, Any]:
    """Return traits without addresses and names, at every level."""
    return _without(traits, ADDRESSES | NAMES, 0)


def properties_without(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return properties without addresses and names of people, at every level."""
    return _without(properties, ADDRESSES | _NAMES_OF_PEOPLE, 0)


def text_without(text: str) -> str:
    """Return text with "***" where an e-mail address stood."""
    return _EMAIL.sub("***", text) if "@" in text or "%40" in text else text


def json_without(value: Mapping[str, Any]) -> str | None:
    """Return JSON, e-mail addresses in values blotted out; None for nothing; infinite numbers become null."""
    return text_without(to_json(value, inf_nan_mode="null").decode()) if value else None


def _without(value: Any, dropped: frozenset[str], level: int) -> Any:
    if isinstance(value, dict):
        if level == _MOST_LEVELS:
            return {}
        return {
            key: _without(held, dropped, level + 1) if isinstance(held, dict | list) else held
            for key, held in value.items()
            if snake_case(key) not in dropped
        }
    if isinstance(value, list):
        return [_without(held, dropped, level + 1) for held in value] if level < _MOST_LEVELS else []
    return value
