"""Consents and reach out of traits, however they are written."""

from collections.abc import Iterator, Mapping
from typing import Any

from features.events._segment_names import CHANNELS as PREFIXES
from features.events._segment_names import snake_case
from nextbest.columns import CHANNELS

_YES = {"true", "yes", "1", "granted", "opted_in", "subscribed", "allow", "allowed"}
_NO = {"false", "no", "0", "denied", "opted_out", "unsubscribed", "deny", "refused"}
_BLOCKS = {"consent": "consent", "consents": "consent", "reachable": "reachable", "reach": "reachable"}
"""Traits that hold a flag a channel -> the column's prefix."""
_SUFFIXES = ("consent", "opt_in", "opted_in", "subscribed", "subscribe")


def consents(traits: Mapping[str, Any]) -> tuple[dict[str, bool], dict[str, Any]]:
    """Return the flags (consent_email, reachable_sms …) and the traits that are left.

    Read are `consent_email`, `email_consent`, `email_opt_in`, `email_subscribed` and `consents: {email: …}`,
    the first and last also with `reachable`; in any case and spelling. A value that says neither yes nor no
    stays a trait.
    """
    flags: dict[str, bool] = {}
    rest: dict[str, Any] = {}
    for key, value in traits.items():
        found = dict(_flags(snake_case(key), value))
        if found:
            flags |= found
        else:
            rest[key] = value
    return flags, rest


def _flags(key: str, value: Any) -> Iterator[tuple[str, bool]]:
    if key in _BLOCKS and isinstance(value, dict):
        for channel, held in value.items():
            yield from _flag(_BLOCKS[key], snake_case(channel), held)
    elif key.startswith(("consent_", "reachable_")):
        prefix, _, channel = key.partition("_")
        yield from _flag(prefix, channel, value)
    else:
        for suffix in _SUFFIXES:
            if key.endswith(f"_{suffix}"):
                yield from _flag("consent", key.removesuffix(f"_{suffix}"), value)
                return


def _flag(prefix: str, channel: str, value: Any) -> Iterator[tuple[str, bool]]:
    said = snake_case(str(value)) if isinstance(value, bool | str | int) else ""
    channel = PREFIXES.get(channel, channel)
    if channel in CHANNELS and said in _YES | _NO:
        yield f"{prefix}_{channel}", said in _YES
