"""The columns of a contact's profile that expressions may name (docs/segments.md tells their meaning)."""

from collections.abc import Collection, Mapping
from typing import Literal

from models.rfm import NO_ORDERS, SEGMENT_NAMES
from nextbest.columns import CHANNELS, CONTACT_FEATURES, CONTACT_ID, TIME_COLUMNS

Kind = Literal["number", "name"]

STAGES = (
    "visitor", "lead", "engaged", "sales_ready", "new", "active", "loyal", "slipping", "leaving", "lost",
)  # fmt: skip
VALUES: Mapping[str, Collection[str]] = {
    "rfm.segment": (*SEGMENT_NAMES, NO_ORDERS),
    "lifecycle.stage": STAGES,
    "engagement.half": ("before", "after"),
    "churn.band": ("low", "medium", "high", "unknown"),
}
"""Column -> the names it can hold; a column of names that is not here can hold any."""

_NAMES = (
    CONTACT_ID, "rfm.segment", "score.stage", "lifecycle.stage", "engagement.half", "churn.band",
    "churn.source", "value.source", "next_order.source", "tags.source", "tags.language", "tags.device",
    "tags.top_interest",
)  # fmt: skip
_NUMBERS = (
    "rfm.recency", "rfm.frequency", "rfm.monetary", "rfm.score", "score.points", "engagement.index",
    "churn.probability", "churn.low", "churn.high", "churn.percentile", "churn.horizon_days",
    "value.past", "value.next_90d", "value.next_365d", "value.orders_90d", "value.orders_365d", "value.total",
    "needs.due", "needs.next_days", "next_order.days", "next_order.low_days", "next_order.high_days",
    "next_order.probability",
    *(f"consent.{channel}" for channel in CHANNELS), *(f"reachable.{channel}" for channel in CHANNELS),
    *(f"features.{name}" for name in CONTACT_FEATURES), *(f"times.{name}" for name in TIME_COLUMNS),
)  # fmt: skip
KNOWN: Mapping[str, Kind] = {**dict.fromkeys(_NAMES, "name"), **dict.fromkeys(_NUMBERS, "number")}
"""Every column of the profile, and whether it holds a number (NaN: unknown) or a name."""
