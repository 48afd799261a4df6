"""What campaigns cost and brought: by campaign, channel and segment.

Two revenues stand side by side. The attributed one shares out what was ordered after messages, by a rule
(training.attribution); part of it would have come anyway. The incremental one is what those who were meant to
be treated brought beyond those held out (training._campaign_holdout): it is what the messages caused.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, get_args

import pandas as pd

from nextbest.columns import CONTACT_ID, TIMESTAMP
from nextbest.errors import BadInput
from nextbest.settings import Settings
from training._campaign_holdout import LEAST, LEVEL, NO_CHANNEL, Incremental, audience_of, incremental
from training._campaign_segments import UNKNOWN, segments
from training._campaign_tables import CAME, campaign_tables
from training._happened import Span
from training.attribution import AMOUNT, KEY, Credits, Rule, attribute, check

By = Literal["campaign", "channel", "segment"]
BYS: tuple[By, ...] = get_args(By)
WINDOW_DAYS = 7.0
RULE: Rule = "last_touch"
OUTSIDE = "\0outside the span"
"""Key of messages sent before the span or after it: their share of an order is left out."""
Interval = tuple[float, float]


@dataclass(frozen=True)
class CampaignOutcome:
    """What the messages of one campaign, channel or segment led to; None where nothing can be said.

    "romi" is the return on marketing investment: (revenue x margin - cost) / cost.
    """

    name: str
    """"" where the messages name no campaign or channel."""
    contacts: int
    sent: int
    delivered: int | None
    """None where no delivery is ever reported."""
    bounced: int
    bounce_rate: float | None
    """Of those sent."""
    opened: int
    clicked: int
    unsubscribed: int
    unsubscribe_rate: float | None
    """Of those sent that did not bounce."""
    cost: float
    orders_attributed: float
    revenue_attributed: float
    romi_attributed: float | None
    revenue_incremental: float | None
    incremental_interval: Interval | None
    """90 %."""
    incremental_why: str | None
    """Why there is no incremental revenue."""
    treated: int
    """Contacts decided to be treated, once for each campaign; of those compared, where any are."""
    held_out: int
    incremental_cost: float
    """Of the campaigns that have a hold-out."""
    romi_incremental: float | None
    """Against incremental_cost."""
    romi_incremental_interval: Interval | None


@dataclass(frozen=True)
class CampaignReport:
    """Outcomes of everything and by group, most messages first, and what there is to know about the data."""

    facts: dict[str, Any]
    total: CampaignOutcome
    groups: dict[By, list[CampaignOutcome]]


def campaign_report(
    settings: Settings,
    now: datetime,
    since: datetime | None = None,
    until: datetime | None = None,
    window_days: float = WINDOW_DAYS,
    rule: Rule = RULE,
    by: Sequence[By] = BYS,
) -> CampaignReport:
    """Join the messages sent in since <= moment < until with what happened up to now.

    A message touches from its sending on, unless it bounced. Money is price x quantity of completed order
    lines, of anything ordered. Raises BadInput for a span that ends before it begins, for an unknown rule and
    for a window that is no positive number of days.
    """
    if since is not None and until is not None and since >= until:
        raise BadInput(f"--since {since:%Y-%m-%d %H:%M} is not before --until {until:%Y-%m-%d %H:%M}")
    check(window_days, rule)
    span = Span(since, until, now, window_days)
    with campaign_tables(settings, span) as tables:
        messages, orders, unmatched = tables.messages(), tables.orders(), tables.unmatched()
        in_span = messages[messages["in_span"]]
        audience, why = audience_of(tables, settings, span, in_span)
    messages["cost"] = messages["channel"].map(_costs(settings)).fillna(0.0).astype(float)
    why_no_segment = _add_segments(settings, messages, audience) if "segment" in by else None
    read = _Read(settings, messages, orders, audience, why, window_days, rule)
    facts = {
        "since": since, "until": until, "window_days": window_days, "rule": rule,
        "rule_by_segment": _rule_of("segment", rule), "margin": settings.margin,
        "holdout_share": settings.message_holdout_share, "interval_level": LEVEL, "least_held_out": LEAST,
        "messages": len(in_span), "simulated_messages": int(in_span["simulated"].sum()),
        "messages_with_open_window": _open(in_span["moment"], span),
        "decisions_with_open_window": int((audience["until"] > pd.Timestamp(now)).sum()),
        "events_of_no_message": unmatched, "channels_without_cost": _without_cost(settings, in_span),
        "segments_why_none": why_no_segment,
    }  # fmt: skip
    return CampaignReport(facts, next(read.outcomes(None)), {name: list(read.outcomes(name)) for name in by})


def plain(report: CampaignReport) -> dict[str, Any]:
    """Return a report as JSON has it."""
    groups = {f"by_{name}": [asdict(o) for o in outcomes] for name, outcomes in report.groups.items()}
    return {**report.facts, "total": asdict(report.total), **groups}


def _costs(settings: Settings) -> dict[str, float]:
    return {name: channel.cost for name, channel in settings.channels.items()}


def _without_cost(settings: Settings, messages: pd.DataFrame) -> list[str]:
    return sorted(set(messages["channel"]) - set(settings.channels))


def _open(moments: "pd.Series[Any]", span: Span) -> int:
    return int((moments + pd.Timedelta(days=span.days) > pd.Timestamp(span.now)).sum())


def _add_segments(settings: Settings, messages: pd.DataFrame, audience: pd.DataFrame) -> str | None:
    """Add `segment` to both: the one the contact was in when the campaign, by either of them, began."""
    columns = ["campaign", "person", "moment"]
    both = pd.concat([frame[columns] for frame in (messages, audience) if len(frame)] or [messages[columns]])
    pairs = both[["campaign", "person"]].drop_duplicates(ignore_index=True)
    start = both.groupby("campaign")["moment"].min()
    pairs[TIMESTAMP] = pairs["campaign"].map(start)
    pairs["segment"], why = segments(settings, pairs)
    found = pairs.set_index(["campaign", "person"])["segment"]
    for frame in (messages, audience):
        rows = pd.MultiIndex.from_frame(frame[["campaign", "person"]])
        frame["segment"] = found.reindex(rows).fillna(UNKNOWN).to_numpy()
    return why


def _rule_of(by: By | None, rule: Rule) -> Rule:
    """Return the rule for a kind of group.

    A path lies within one segment, so that segments are no steps of a chain: for them, last touch.
    """
    return "last_touch" if by == "segment" and rule == "markov" else rule


@dataclass(frozen=True)
class _Read:
    """All that was read, and what is made of it by group."""

    settings: Settings
    messages: pd.DataFrame
    orders: pd.DataFrame
    audience: pd.DataFrame
    why: Mapping[str, str]
    window_days: float
    rule: Rule

    def outcomes(self, by: By | None) -> Iterator[CampaignOutcome]:
        """Yield the outcome of each group, most messages first; of everything where `by` is None."""
        sent = self.messages[self.messages["in_span"]]
        names = sent[by] if by else pd.Series("all", index=sent.index)
        groups = {str(name): rows for name, rows in sent.groupby(names)} or ({} if by else {"all": sent})
        credited = self._credits(by).keys
        for name in sorted(groups, key=lambda name: (-len(groups[name]), name)):
            orders, revenue = (
                float(credited[column].get(name, 0.0)) for column in ("conversions", "revenue")
            )
            yield self._outcome(name, groups[name], orders, revenue, self._incremental(by, name))

    def _credits(self, by: By | None) -> Credits:
        landed = self.messages[~self.messages["bounced"]]
        key = landed[by] if by else pd.Series("all", index=landed.index)
        touches = pd.DataFrame(
            {
                CONTACT_ID: landed["person"],
                TIMESTAMP: landed["moment"],
                KEY: key.astype(object).where(landed["in_span"], OUTSIDE),
            }
        )
        orders = self.orders.rename(columns={"person": CONTACT_ID, "moment": TIMESTAMP, "amount": AMOUNT})
        return attribute(touches, orders, self.window_days, _rule_of(by, self.rule))

    def _incremental(self, by: By | None, name: str) -> Incremental:
        if by is None:  # of the campaigns that sent something: the others have no row and no cost
            sent = self.messages.loc[self.messages["in_span"], "campaign"].unique()
            return incremental(self.audience[self.audience["campaign"].isin(sent)])
        if by == "channel" and len(self.audience) and self.audience["channel"].isna().all():
            return incremental(self.audience.iloc[:0], NO_CHANNEL)
        rows = self.audience[self.audience[by] == name]
        return incremental(rows, self.why.get(name) if by == "campaign" else None)

    def _outcome(
        self, name: str, sent: pd.DataFrame, orders: float, revenue: float, caused: Incremental
    ) -> CampaignOutcome:
        came = {flag: int(sent[flag].sum()) for flag in CAME}
        cost = float(sent["cost"].sum())
        covered = float(sent.loc[sent["campaign"].isin(caused.campaigns), "cost"].sum())
        ends = None
        if caused.interval is not None and covered > 0:
            low, high = (self._return(end, covered) for end in caused.interval)
            ends = (low, high) if low is not None and high is not None else None
        return CampaignOutcome(
            name=name,
            contacts=int(sent["person"].nunique()),
            sent=len(sent),
            delivered=came["delivered"] or None,
            bounced=came["bounced"],
            bounce_rate=_rate(came["bounced"], len(sent)),
            opened=came["opened"],
            clicked=came["clicked"],
            unsubscribed=came["unsubscribed"],
            unsubscribe_rate=_rate(came["unsubscribed"], int((~sent["bounced"]).sum())),
            cost=cost,
            orders_attributed=orders,
            revenue_attributed=revenue,
            romi_attributed=self._return(revenue, cost),
            revenue_incremental=caused.revenue,
            incremental_interval=caused.interval,
            incremental_why=caused.why,
            treated=caused.treated,
            held_out=caused.held_out,
            incremental_cost=covered,
            romi_incremental=None if caused.revenue is None else self._return(caused.revenue, covered),
            romi_incremental_interval=ends,
        )

    def _return(self, revenue: float, cost: float) -> float | None:
        return (revenue * self.settings.margin - cost) / cost if cost > 0 else None


def _rate(part: int, whole: int) -> float | None:
    return part / whole if whole else None
