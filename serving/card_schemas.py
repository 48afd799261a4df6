"""What the contact card holds: how somebody stands, how they came here, and what to do next."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from features.tags import Tags
from serving.schemas import (
    Answer,
    AsOf,
    Consent,
    Prediction,
    RankedChannel,
    RecommendedItem,
    Sourced,
    TriggerEvent,
)


class Segment(Answer):
    """RFM segment and classes now, and the segment after the last order: since then only recency moves it."""

    name: str
    before: str
    moved: Literal["up", "down", "same"]
    recency: int
    frequency: int
    monetary: int


class Engagement(Answer):
    """What a contact does: the engagement index, last seen, and decayed counts of 30 days."""

    index: float = Field(ge=0, le=100)
    """How involved the contact is (models/lifecycle.py)."""
    half: Literal["before", "after"]
    """Before or after the first order: each half has an index of its own."""
    last_seen: datetime | None
    last_order: datetime | None
    orders: float
    spend: float
    views: float
    opens: float
    clicks: float
    level: str


class RuleScore(Answer):
    """Points of the rule score and the thresholds reached."""

    score: float
    reached: list[str]


class Affinity(Answer):
    """A category bought in, with its share of the contact's recent purchases."""

    category: str
    share: float


class PathStep(Answer):
    """How somebody stood at the end of a month, and what they did in it; the last step is the present."""

    at: datetime
    segment: str | None
    stage: str
    index: float
    orders: int
    spend: float


class HappenedItem(Answer):
    """An item of something that happened."""

    item_id: str
    title: str | None
    """What the catalogue calls it."""
    quantity: float | None
    price: float | None
    """Of one."""


class Happened(Answer):
    """One thing that happened; the lines of an order, and the same seen within a minute, are one."""

    at: datetime
    event: str
    who: str
    """The id it came under: one of the card's `ids`."""
    times: int
    """Events in it."""
    items: list[HappenedItem]
    """The dearest first, a dozen at most."""
    order_id: str | None
    total: float | None
    """Of an order, in money; null: no prices."""
    currency: str | None
    channel: str | None
    campaign_id: str | None
    url: str | None
    query: str | None
    """What was searched for."""


class NextProducts(Sourced):
    """What to offer on the home page; `probability` of each is of buying it within the horizon."""

    items: list[RecommendedItem]
    horizon_days: int


class NextChannel(Sourced):
    """How to reach the contact: `best` null: not at all; channels best first."""

    best: str | None
    send_at: datetime | None
    channels: list[RankedChannel]
    value_from: str
    """Where the worth of a response comes from: as in the answer of best-channel."""


class NextBest(Answer):
    """What to offer, over which channel and when. Looking at it is no decision: none is logged."""

    product: NextProducts | None
    channel: NextChannel | None


class Worth(Answer):
    """What it is worth to act: the spend expected of the coming days × the probability that none comes."""

    at_risk: float
    expected: float
    days: int
    """Of `expected`."""
    probability: float
    """Of no order within horizon_days."""
    horizon_days: int
    says: str
    """The same in a sentence."""


class ContactCard(Answer):
    """Everything a person wants to see of a contact; what cannot be had is null."""

    contact_id: str
    ids: list[str] | None = None
    """Every id that is this person: of contacts, and of visits before they were known."""
    segment: Segment | None
    engagement: Engagement
    stage: str
    """Of life: visitor, lead, engaged, sales_ready; new, active, loyal, slipping, leaving, lost."""
    rule_score: RuleScore | None
    predictions: dict[str, Prediction]
    worth: Worth | None = None
    affinities: list[Affinity]
    consents: dict[str, Consent]
    path: list[PathStep] | None = None
    """Month by month, oldest first, three years at most."""
    next_best: NextBest | None = None
    tags: Tags | None = None
    """From behaviour, as of the last build."""
    timeline: list[Happened] | None = None
    """The latest fifty things, newest first."""
    triggers: list[TriggerEvent] | None = None
    """The latest ten that fired, newest first."""
    simulated: list[str] = Field(default_factory=list)
    """Versions of models on this card that were learned from simulated data."""
    as_of: AsOf
