"""What of a message's context is kept: the device's class, language, time zone and where a visit came from.

Segment's spec/common has the rest: no address, no IP, no user agent, no page's query is kept of it. It goes
into the event's properties under CONTEXT.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from features.events._addresses import text_without

CONTEXT = "context"
PHONE, TABLET, COMPUTER = "phone", "tablet", "computer"
_CLASSES = {
    "ios": PHONE, "android": PHONE, "mobile": PHONE, "phone": PHONE, "smartphone": PHONE, "tablet": TABLET,
    "ipad": TABLET, "desktop": COMPUTER, "computer": COMPUTER, "laptop": COMPUTER, "browser": COMPUTER,
}  # fmt: skip
_TABLETS = re.compile(r"ipad|tablet|kindle|silk/|playbook|android(?!.*mobile)", re.IGNORECASE)
_PHONES = re.compile(r"iphone|ipod|mobile|windows phone|opera mini", re.IGNORECASE)
_COMPUTERS = re.compile(r"windows nt|macintosh|x11|cros |linux", re.IGNORECASE)
_LOCALE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
_WORD = 60
"""Characters kept of a campaign's source and medium."""
_ZONES = frozenset(available_timezones())


def kept(context: Mapping[str, Any]) -> dict[str, str]:
    """Return locale, device, timezone, referrer (a host), source and medium, those that are told."""
    page, campaign = _object(context.get("page")), _object(context.get("campaign"))
    found = {
        "locale": _locale(context.get("locale")),
        "device": device(context),
        "timezone": _zone(context.get("timezone")),
        "referrer": host(page.get("referrer")) or host(_object(context.get("referrer")).get("url")),
        "source": _word(campaign.get("source")),
        "medium": _word(campaign.get("medium")),
    }
    return {name: value for name, value in found.items() if value}


def device(context: Mapping[str, Any]) -> str | None:
    """Return phone, tablet or computer; None where neither the device nor the user agent tells."""
    held, agent = _object(context.get("device")), context.get("userAgent")
    named = " ".join(str(held.get(name) or "") for name in ("model", "name")).lower()
    if "ipad" in named or "tablet" in named:
        return TABLET
    if (known := _CLASSES.get(str(held.get("type")).lower())) is not None:
        return known
    if isinstance(agent, str) and agent:
        for kind, pattern in ((TABLET, _TABLETS), (PHONE, _PHONES), (COMPUTER, _COMPUTERS)):
            if pattern.search(agent[:500]):
                return kind
    mobile = _object(context.get("userAgentData")).get("mobile")
    return (PHONE if mobile else COMPUTER) if isinstance(mobile, bool) else None


def host(url: Any) -> str | None:
    """Return the host of an address, in lower case, without www."""
    if not isinstance(url, str):
        return None
    try:
        found = urlsplit(url if "//" in url else f"//{url}").hostname
    except ValueError:
        return None
    return found.removeprefix("www.")[:200] or None if found else None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _locale(value: Any) -> str | None:
    return value if isinstance(value, str) and len(value) <= 35 and _LOCALE.fullmatch(value) else None


def _zone(value: Any) -> str | None:
    return value if isinstance(value, str) and value in _ZONES else None


def _word(value: Any) -> str | None:
    return text_without(value.replace("\x00", ""))[:_WORD].strip() or None if isinstance(value, str) else None
