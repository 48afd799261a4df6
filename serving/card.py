"""The contact card: everything a person wants to see of a contact, on one page."""

import math
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from features.points import Rules as PointRules
from models.rfm import NO_ORDERS, SEGMENT_NAMES
from models.rules import Rules
from serving.budget import Skipped
from serving.parts import Parts
from serving.people import Person
from serving.predict import PredictionLadders
from serving.reach import ChannelLadder
from serving.schemas import TASKS, Affinity, AsOf, ContactCard, Engagement, RuleScore, Segment

DAY = 86_400.0
AFFINITIES = 10
COOLING, LAPSED = (1.5, 14.0), (3.0, 45.0)
"""Since the last order, of somebody with two or more: times the usual gap, and days; both must be over."""
LAPSED_DAYS = 90.0
"""Days after which somebody with one order only has lapsed."""


class Cards:
    """Puts cards together; what cannot be had is null on the card."""

    def __init__(
        self, parts: Parts, predictions: PredictionLadders, channels: ChannelLadder, points: PointRules
    ) -> None:
        self._parts, self._predictions, self._channels = parts, predictions, channels
        self._rules = Rules(points.thresholds)

    def card(self, contact_id: str, now: datetime) -> ContactCard | None:
        """Return the card; None for a contact nothing is known of."""
        deadline = self._parts.patience()
        person = self._parts.people.many([contact_id], now, deadline)[0]
        consents = self._channels.consents(contact_id, person)
        recorded = any(c.consent is not None or c.reachable is not None for c in consents.values())
        if not (person.known or recorded):
            return None
        frame = pd.DataFrame([person.view.row()])
        return ContactCard(
            contact_id=contact_id,
            segment=self._segment(person, frame),
            engagement=_engagement(person, now),
            stage=stage(person),
            rule_score=self._rule_score(frame),
            predictions=self._predictions.of([person], TASKS, now, self._parts.patience())[0],
            affinities=_affinities(person),
            consents=consents,
            as_of=AsOf(moment=now, position=person.position),
        )

    def _segment(self, person: Person, frame: pd.DataFrame) -> Segment | None:
        """Return the segment now and the one right after the last order."""
        try:
            loaded = self._parts.champion("rfm")
        except Skipped:
            return None
        if person.view.features.get("orders_total", 0.0) <= 0:
            return None
        then = frame.assign(recency_days=0.0)
        scores = loaded.model.score(pd.concat([frame, then], ignore_index=True))
        name, before = str(scores["segment"].iloc[0]), str(scores["segment"].iloc[1])
        if name == NO_ORDERS:
            return None
        return Segment(
            name=name,
            before=before,
            moved=_moved(before, name),
            recency=int(scores["r"].iloc[0]),
            frequency=int(scores["f"].iloc[0]),
            monetary=int(scores["m"].iloc[0]),
        )

    def _rule_score(self, frame: pd.DataFrame) -> RuleScore:
        row = self._rules.score(frame).iloc[0]
        reached = [name for name in str(row["thresholds"]).split(",") if name]
        return RuleScore(score=float(row["rule_score"]), reached=reached)


def stage(person: Person) -> str:
    """Return the lifecycle stage: unknown, visitor, new, active, cooling or lapsed."""
    features = person.view.features
    if not features:
        return "unknown"
    orders = features.get("orders_total", 0.0)
    if orders <= 0:
        return "visitor"
    over, days = features.get("recency_over_gap", math.nan), features.get("recency_days", math.inf)
    if orders < 2 or math.isnan(over):
        return "new" if days < LAPSED_DAYS else "lapsed"
    if over > LAPSED[0] and days > LAPSED[1]:
        return "lapsed"
    return "cooling" if over > COOLING[0] and days > COOLING[1] else "active"


def _engagement(person: Person, now: datetime) -> Engagement:
    features, times = person.view.features, person.view.times
    seen = times.get("last_seen", math.nan)
    days = (now.timestamp() - seen) / DAY
    level = "none" if math.isnan(days) else "high" if days <= 7 else "medium" if days <= 30 else "low"
    counts: dict[str, Any] = {
        name: max(float(features.get(f"{name}_30d", 0.0)), 0.0)
        for name in ("orders", "spend", "views", "opens", "clicks")
    }
    return Engagement(
        last_seen=_moment(seen), last_order=_moment(times.get("last_order", math.nan)), level=level, **counts
    )


def _affinities(person: Person) -> list[Affinity]:
    view = person.view
    total = float(view.category_90d.sum())
    if total <= 0:
        return []
    pairs = zip(view.category_names, view.category_90d, strict=True)
    return [Affinity(category=name, share=float(weight) / total) for name, weight in list(pairs)[:AFFINITIES]]


def _moved(before: str, now: str) -> Any:
    if before == now:
        return "same"
    known = list(SEGMENT_NAMES)
    return "down" if known.index(now) > known.index(before) else "up"


def _moment(seconds: float) -> datetime | None:
    return None if math.isnan(seconds) else datetime.fromtimestamp(seconds, UTC)
