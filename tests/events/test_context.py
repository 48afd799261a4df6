"""What of a message's context is kept, and what never is."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from features.events._context import device, host, kept
from features.events.segment import translate

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 Chrome/138.0 Safari/537.36"
PIXEL = "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Mobile Safari/537.36"
GALAXY_TAB = "Mozilla/5.0 (Linux; Android 15; SM-X710) AppleWebKit/537.36 Safari/537.36"


def test_classes_and_hosts_are_kept_and_nothing_else() -> None:
    context = {
        "ip": "203.0.113.9", "userAgent": MAC, "locale": "de-AT", "timezone": "Europe/Vienna",
        "page": {"url": "https://shop.org/?a=1", "referrer": "https://www.google.com/search?q=ann@b.org"},
        "campaign": {"name": "spring", "source": "news ann@b.org", "medium": "email", "term": "secret"},
        "device": {"id": "B5372DB0", "advertisingId": "7A3CBEA0"}, "network": {"wifi": True},
    }  # fmt: skip
    (row,) = translate({"userId": "u", "context": context}, "page", NOW).rows
    assert json.loads(row["properties"]) == {
        "context": {
            "locale": "de-AT", "device": "computer", "timezone": "Europe/Vienna", "referrer": "google.com",
            "source": "news ***", "medium": "email",
        }
    }  # fmt: skip
    assert row["campaign_id"] == "spring"


@pytest.mark.parametrize(
    ("context", "kind"),
    [
        ({"device": {"type": "ios", "model": "iPhone7,2"}}, "phone"),
        ({"device": {"type": "ios", "model": "iPad13,1"}}, "tablet"),
        ({"device": {"type": "Android"}}, "phone"),
        ({"userAgent": MAC}, "computer"),
        (
            {"userAgent": PIXEL},
            "phone",
        ),
        (
            {"userAgent": GALAXY_TAB},
            "tablet",
        ),
        ({"userAgentData": {"mobile": True}}, "phone"),
        ({"userAgent": "curl/8"}, None),
        ({"device": "phone", "userAgent": 5, "userAgentData": None}, None),
        ({}, None),
    ],
)
def test_devices_have_classes(context: dict[str, Any], kind: str | None) -> None:
    assert device(context) == kind


def test_what_is_no_such_thing_is_left_out() -> None:
    odd = {
        "locale": "not a locale",
        "timezone": "Mars/Base",
        "campaign": "spring",
        "page": {"referrer": "http://["},
    }
    assert kept(odd) == {}
    assert host("android-app://com.google.android.gm") == "com.google.android.gm"
    assert host("www.Shop.org/x") == "shop.org"
    assert host("") is None
    assert host(None) is None
