"""Whether a channel may be used for a contact, and when next: consent, reach, cap, quiet hours."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import floor, isnan, nan
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt

from models.base import Floats
from nextbest.settings import ChannelSettings

WEEK = 7.0
Unknown = Literal["deny", "allow"]


def blocked_by(
    channel: ChannelSettings,
    *,
    consent: bool | None,
    reachable: bool | None,
    sent_week: float = 0.0,
    unknown_consent: Unknown = "deny",
    unknown_reach: Unknown = "allow",
    local_hour: int | None = None,
) -> list[str]:
    """Return what forbids the channel, empty if nothing does; never a matter of how promising it is.

    no_consent, consent_unknown, not_reachable, reach_unknown, weekly_cap, quiet_hours. consent and reachable
    are None where never recorded. `sent_week`: messages in the last seven days (`most_in_a_week`). Without a
    `local_hour` quiet hours are not asked: `next_allowed` moves the sending instead.
    """
    reasons = []
    if consent is False or (consent is None and unknown_consent == "deny"):
        reasons.append("no_consent" if consent is False else "consent_unknown")
    if reachable is False or (reachable is None and unknown_reach == "deny"):
        reasons.append("not_reachable" if reachable is False else "reach_unknown")
    if sent_week >= channel.weekly_cap:
        reasons.append("weekly_cap")
    if local_hour is not None and in_quiet_hours(local_hour, channel.quiet_from, channel.quiet_to):
        reasons.append("quiet_hours")
    return reasons


def most_in_a_week(sent_7d: float, days_since_sent: float = nan) -> float:
    """Return an upper bound of the messages of the last seven days, from the count with a half-life of seven.

    Each of them weighs ½ or more, so a cap kept by this bound is kept. Exact where the last message is a week
    old (0) and for the first message in a week (1); after that it may count older ones too.
    """
    if days_since_sent >= WEEK or not sent_7d > 0:
        return 0.0
    last = 2 ** (-max(days_since_sent, 0.0) / WEEK) if not isnan(days_since_sent) else 0.5
    return 1.0 + floor(max(sent_7d - last, 0.0) / 0.5 + 1e-9)


def sent_in_a_week(recent: Floats | float, weights: Floats | float, sent_7d: Floats | float) -> Floats:
    """Return an upper bound of the messages of the last seven days over any channel; floats or arrays.

    recent: messages of the week among the steps that are remembered; weights: what all messages among those
    steps weigh, half-life seven days; sent_7d: what all messages weigh. What is missing there was forgotten,
    or went out at the very moment of another: as much as it weighs, at ½ a message, may be of this week.
    """
    missing = np.maximum(np.nan_to_num(sent_7d) - weights, 0.0)
    return np.asarray(recent + np.floor(missing / 0.5 + 1e-6))


def permitted(
    channels: Sequence[ChannelSettings],
    consent: Floats,
    reachable: Floats,
    sent_7d: Floats,
    days_since_sent: Floats,
    sent_any: Floats,
    unknown_consent: Unknown = "deny",
    unknown_reach: Unknown = "allow",
) -> npt.NDArray[np.bool_]:
    """Return where `blocked_by` gives no reason, for many contacts at once; arrays (contacts, channels).

    consent, reachable: 1, 0, or NaN where never recorded; sent_any: (contacts,), messages over any channel in
    the last seven days (`sent_in_a_week`), infinite where nobody counted. Quiet hours are not asked.
    """
    agreed = np.where(np.isnan(consent), unknown_consent == "allow", consent == 1)
    there = np.where(np.isnan(reachable), unknown_reach == "allow", reachable == 1)
    age = np.where(np.isnan(days_since_sent), WEEK, np.maximum(days_since_sent, 0.0))
    week = 1.0 + np.floor(np.maximum(sent_7d - 2 ** (-age / WEEK), 0.0) / 0.5 + 1e-9)
    week = np.where((days_since_sent >= WEEK) | ~(sent_7d > 0), 0.0, week)
    week = np.minimum(week, sent_any[:, None])
    caps = np.array([channel.weekly_cap for channel in channels])
    return np.asarray(agreed & there & (week < caps))


def quiet_table(channels: Sequence[ChannelSettings]) -> npt.NDArray[np.bool_]:
    """Return which local hours of the day are quiet, shape (channels, 24)."""
    rows = [[in_quiet_hours(hour, c.quiet_from, c.quiet_to) for hour in range(24)] for c in channels]
    return np.array(rows, dtype=np.bool_).reshape(-1, 24)


def in_quiet_hours(hour: int, quiet_from: int, quiet_to: int) -> bool:
    """Tell whether nothing is sent at a local hour; quiet hours may span midnight, equal ends mean none."""
    if quiet_from <= quiet_to:
        return quiet_from <= hour < quiet_to
    return hour >= quiet_from or hour < quiet_to


def zone_of(timezone: str | None) -> tuple[ZoneInfo, str | None]:
    """Return the contact's zone and, where it had to be taken for UTC, why."""
    utc = ZoneInfo("UTC")
    if not timezone:
        return utc, "no timezone recorded: UTC"
    try:
        return ZoneInfo(timezone), None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return utc, f"unknown timezone {timezone!r}: UTC"


def next_allowed(now: datetime, timezone: str | None, quiet_from: int, quiet_to: int) -> datetime:
    """Return the first moment from `now` on (aware) that lies outside the contact's quiet hours, in UTC.

    An unknown timezone counts as UTC; `zone_of` says so.
    """
    zone, _ = zone_of(timezone)
    local = now.astimezone(zone)
    if not in_quiet_hours(local.hour, quiet_from, quiet_to):
        return now.astimezone(UTC)
    day = local if local.hour < quiet_to else local + timedelta(days=1)
    return day.replace(hour=quiet_to, minute=0, second=0, microsecond=0, fold=0).astimezone(UTC)
