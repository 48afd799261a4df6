"""What goes over the wire: one pydantic model for each request and answer of the HTTP contract."""

from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from nextbest.columns import CHANNELS

Placement = Literal["home", "product", "cart", "email", "buy_again", "trending"]
Show = Literal["both", "complements", "alternatives"]
Role = Literal["complement", "alternative"]
ReasonKind = Literal[
    "bought_together", "due", "bought_before", "similar_to", "because_you_viewed", "walked", "trending_in",
    "popular_in", "popular", "new", "grown_out_of",
]  # fmt: skip
REASON_KEYS: dict[ReasonKind, tuple[str, ...]] = {
    "bought_together": ("item_id", "lift"),
    "due": ("usual_days", "last_days_ago", "overdue"),
    "bought_before": ("times", "last_days_ago"),
    "similar_to": ("item_id", "category", "price_ratio"),
    "because_you_viewed": ("item_id",),
    "walked": ("path", "share", "lift"),
    "trending_in": ("category", "ratio"),
    "popular_in": ("category",),
    "popular": (),
    "new": ("first_sold_days_ago",),
    "grown_out_of": ("item_id", "bought_days_ago", "rule"),
}
"""What `because` holds at least, by the reason's kind; with an item_id always its title too."""
Day = date
Task = Literal["churn", "value", "next_order"]
TASKS: tuple[Task, ...] = ("churn", "value", "next_order")
Channel = Literal["email", "sms", "web_push", "mobile_push", "ads", "phone", "post"]
Id = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
"""An id as the sender knows it: 1 to 200 characters; a JSON number is read as its digits."""

assert Channel.__args__ == CHANNELS  # type: ignore[attr-defined]  # noqa: S101 - a literal cannot be computed


def _unique(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


Unique = AfterValidator(_unique)


def _foreseeable(moment: datetime) -> datetime:
    if moment.year > 2200:
        raise ValueError("lies after the year 2200")
    return moment


"""Repeats are dropped, the first of each is kept."""


class Request(BaseModel):
    """A request's body: unknown fields are refused, null means absent."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, body: Any) -> Any:
        if isinstance(body, dict) and None in body.values():
            return {name: value for name, value in body.items() if value is not None}
        return body


class RecommendationsRequest(Request):
    """What to show somebody on a page; without any id: to a visitor nothing is known of."""

    contact_id: Id | None = None
    anonymous_id: Id | None = None
    identity_token: Annotated[str, Field(max_length=200)] | None = None
    """HMAC-SHA256 (hex) of contact_id with the secret key; contact_id needs it with the write key."""
    placement: Placement = "home"
    item_ids: Annotated[list[Id], Field(max_length=100), Unique] = []
    """The page's product, or what is in the cart."""
    k: int = Field(10, ge=1, le=100)
    exclude_ids: Annotated[list[Id], Field(max_length=1000), Unique] = []
    category: Id | None = None
    """Only items at or below this category path ("grocery" or "grocery/milk")."""
    show: Show = "both"
    """For placement product: what goes with the item, what could be bought in its place, or both in turn."""
    max_per_category: int | None = Field(None, ge=1, le=100)
    """Items of one category at most, unless fewer than k could be shown; absent: the placement's default."""
    explore: bool = False
    """Let chance show new items now and then; `propensity` says how probable each item was."""
    horizon_days: int | None = Field(None, ge=1, le=365)
    """The days of "buys within" that `probability` is about; absent: the service's (30)."""
    no_repeat_days: int | None = Field(None, ge=0, le=365)
    """For placement email: days in which no item is shown again; absent: the service's (14); 0: none."""

    @model_validator(mode="after")
    def _fields_of_one_placement(self) -> Self:
        for name, default, placement in (("show", "both", "product"), ("no_repeat_days", None, "email")):
            if getattr(self, name) != default and self.placement != placement:
                raise ValueError(f"'{name}' is for placement {placement}, not {self.placement}")
        return self


class BoughtTogetherRequest(Request):
    """What goes with these items in a basket."""

    item_ids: Annotated[list[Id], Field(min_length=1, max_length=100), Unique]
    k: int = Field(10, ge=1, le=100)


ContactIds = Annotated[list[Id], Field(min_length=1, max_length=1000), Unique]


class BestChannelRequest(Request):
    """Over which channel, and when, each of these contacts is to be reached."""

    contact_ids: ContactIds
    channels: Annotated[list[Channel], Field(min_length=1), Unique] | None = None
    """The channels to choose among; absent: every channel configured."""
    campaign_id: Id | None = None
    value: float | None = Field(None, ge=0, le=1e12)
    """What one response is worth, in the currency of the channel costs; absent: what past ones brought, by
    contact and channel, where orders were put down to messages, else 1."""
    at: Annotated[AwareDatetime, AfterValidator(_foreseeable)] | None = None
    """The moment to send at the earliest; absent, or past: now."""
    window_hours: int = Field(24, ge=1, le=168)
    """Hours from then within which the message is to go out."""
    explore: bool = False
    """Let chance choose among the channels worth sending, the likelier the more each is worth (softmax with a
    floor), so that the policy goes on learning; `propensity` is exact."""


class PredictionsRequest(Request):
    """What these contacts will do."""

    contact_ids: ContactIds
    tasks: Annotated[list[Task], Field(min_length=1), Unique] = ["churn", "value", "next_order"]
    horizon_days: int | None = Field(None, ge=1, le=365)
    """The days that churn is about; absent: the service's."""


class Answer(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


class AsOf(Answer):
    """What an answer has seen: its moment, and the event log up to a position."""

    moment: datetime
    position: int


class ItemReason(Answer):
    """Why an item is shown, as data."""

    kind: ReasonKind
    because: dict[str, Any]

    @model_validator(mode="after")
    def _holds_what_its_kind_promises(self) -> Self:
        if missing := [key for key in REASON_KEYS[self.kind] if key not in self.because]:
            raise ValueError(f"a reason {self.kind} says {', '.join(missing)}")
        return self


class RecommendedItem(Answer):
    """One item; `probability`: of buying it within the horizon; an estimate where no model answered."""

    item_id: str
    title: str | None
    """What the catalogue calls it."""
    score: float
    probability: float = Field(ge=0, le=1)
    reason: ItemReason
    role: Role | None = None
    """What it is to the page's product or the cart; null: nothing in particular."""
    propensity: float = Field(1.0, gt=0, le=1)
    """Probability that this item was shown here at all: below 1 only where chance had a say."""


class Sourced(Answer):
    """Who gave an answer: `fallback` is null, or why the first choice did not answer."""

    source: str
    model_version: str | None
    fallback: str | None
    as_of: AsOf


class Recommendations(Sourced):
    """Items best first."""

    recommendation_id: str
    items: list[RecommendedItem]
    identified: bool
    horizon_days: int
    """What `probability` is about."""
    notes: list[str] = []
    """Codes of what could not be done as asked: decision_log_unavailable, category_limit_relaxed."""


class Evidence(Answer):
    """Counts of baskets behind a rule."""

    baskets: int
    antecedent_baskets: int
    consequent_baskets: int
    total_baskets: int


class AssociationRule(Answer):
    """Who buys the antecedent buys the consequent."""

    antecedent: list[str]
    consequent: str
    title: str | None
    """What the catalogue calls the consequent."""
    support: float
    confidence: float
    lift: float
    leverage: float
    conviction: float | None
    """Null where it is infinite: the confidence is 1."""
    p_value: float = Field(ge=0, le=1)
    """One-sided Fisher's exact test of the evidence: chance of so many baskets with both."""
    q_value: float = Field(ge=0, le=1)
    """p_value adjusted for all rules that were looked at (false discovery rate)."""
    evidence: Evidence


class BoughtTogether(Sourced):
    """Rules best first."""

    recommendation_id: str
    rules: list[AssociationRule]


class ChannelEvidence(Answer):
    """Messages behind a channel's probability."""

    messages: float
    responses: float


class RankedChannel(Answer):
    """One channel; `blocked_by` says what forbids it (consent, reach, cap, quiet hours) where not eligible.

    `probability` is of a response to a message at `send_at`; `expected_value` = probability × value - cost -
    what the risk of an unsubscription costs, in money.
    """

    channel: str
    probability: float
    interval: tuple[float, float]
    expected_value: float
    evidence: ChannelEvidence
    eligible: bool
    blocked_by: list[str]
    send_at: datetime | None
    """The hour of the window at which a response is likeliest, outside the channel's quiet hours."""


class ChannelDecision(Sourced):
    """One contact's channel; `best` null: send nothing."""

    contact_id: str
    best: str | None
    channels: list[RankedChannel]
    send_at: datetime | None
    propensity: float
    """P(this channel), or nothing, was chosen, given that the contact is not held out."""
    held_out: bool
    """Whether the contact is in the campaign's hold-out group, which gets nothing: what it buys all the same
    is what the campaign is measured against."""
    value_from: Literal["asked", "uplift", "learned", "default"]
    """Where the worth of a response comes from: the request; orders after past messages, less those that a
    hold-out shows would have come anyway (uplift) or with them (learned); or 1."""
    decision_id: str


class BestChannel(Answer):
    """One decision a contact, in the order asked."""

    contacts: list[ChannelDecision]


class Driver(Answer):
    """A feature that moved a prediction: `contribution` in log-odds where a learned model gave it."""

    feature: str
    value: float | None
    contribution: float
    phrase: str


class Replenishment(Answer):
    """When a contact buys again in a category it buys by nature: the median date and an 80 % interval."""

    category: str
    due: date
    low: date
    high: date | None
    """Null: more than a year ahead."""
    probability_30d: float = Field(ge=0, le=1)
    usual_days: float
    """Days between purchases, as far as the contact's own tell, else the category's."""
    purchases: int
    """Days bought on so far."""


class ValueAhead(Answer):
    """What a contact is expected to do in the days ahead; spend null: orders have no prices."""

    days: int
    orders: float
    spend: float | None


class Prediction(Sourced):
    """One task's answer; what a source cannot give is null.

    churn: probability of no order within the horizon, low and high hold the rate among contacts scored alike
    with 90 %. value: expected spend within the horizon, past spend, total: past and the coming year's.
    next_order: probability of an order within the horizon, value: orders expected; date: the middle one,
    low_date to high_date hold it with 80 %; categories: those bought by nature, and when next.
    """

    probability: float | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    percentile: float | None = None
    band: str | None = None
    horizon_days: int
    drivers: list[Driver] = []
    past: float | None = None
    total: float | None = None
    ahead: list[ValueAhead] = []
    date: Day | None = None
    low_date: Day | None = None
    high_date: Day | None = None
    categories: list[Replenishment] = []


class ContactPredictions(Answer):
    """One contact's predictions by task."""

    contact_id: str
    known: bool
    predictions: dict[str, Prediction]


class Predictions(Answer):
    """One entry a contact, in the order asked."""

    contacts: list[ContactPredictions]


class Consent(Answer):
    """What is recorded for a channel; null: nothing was."""

    consent: bool | None
    reachable: bool | None
    permitted: bool
    blocked_by: list[str]


def _cursor(text: str) -> int | datetime:
    """Read a position, or a moment; one without a time zone is UTC."""
    if text.isascii() and text.isdigit():
        if len(text) > 18:
            raise ValueError("no position has more than 18 digits")
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            "write a position (the last answer's next), or a moment as 2026-01-31T12:00:00Z, with + as %2B"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


Cursor = Annotated[str, Field(min_length=1, max_length=40)]


class TriggersRequest(Request):
    """Which events of triggers to list; parameters of the query."""

    since: Cursor | None = None
    """The `next` of the answer before, or a moment (ISO 8601) to begin at; absent: from the first kept."""
    limit: int = Field(100, ge=1, le=1000)
    rule: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z][a-z0-9_]*$")] | None = None
    """Only events of this rule."""

    @field_validator("since")
    @classmethod
    def _is_cursor(cls, text: str | None) -> str | None:
        if text is not None:
            _cursor(text)
        return text

    @property
    def after(self) -> int | datetime:
        """Return the position or moment to begin at."""
        return 0 if self.since is None else _cursor(self.since)


class TriggerEvent(Answer):
    """A rule fired for a contact: once, when what it watches changed from `before` to `after`."""

    id: str
    """The same as in the webhook's `webhook-id`."""
    position: int
    timestamp: datetime
    """The moment the contact was looked at."""
    contact_id: str
    rule: str
    before: str | None
    after: str
    facts: dict[str, float | str | None]
    """The columns of the profile that the rule reads or carries; null: unknown."""


class Triggers(Answer):
    """Events in the order they fired."""

    triggers: list[TriggerEvent]
    next: int
    """`since` of the next call: nothing is missed, and nothing comes twice."""


class Erased(Answer):
    """What was erased of a contact."""

    contact_id: str
    erased: bool


class Problem(Answer):
    """What was wrong, and what would work."""

    code: str
    message: str
