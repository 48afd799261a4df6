"""The contact card: everything a person wants to see of a contact, on one page.

How somebody stands comes first; how they came here, and what to do next, are asked for with the whole card.
What cannot be had, or not in time, is null, and never keeps the rest away.
"""

import logging
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import pandas as pd

from features.events._identity import Person as Identity
from features.points import Rules as PointRules
from features.tags import tags_of
from models.rfm import NO_ORDERS, SEGMENT_NAMES
from models.rules import Rules
from nextbest.errors import NotReady
from serving._next_best import NextBests, worth
from serving._path import months, path
from serving._timeline import timeline
from serving.budget import Skipped
from serving.card_schemas import Affinity, ContactCard, Engagement, RuleScore, Segment
from serving.parts import Parts
from serving.past import Past
from serving.people import Person
from serving.predict import PredictionLadders, rows_of
from serving.profile import Profiler
from serving.reach import ChannelLadder
from serving.schemas import TASKS, AsOf, TriggerEvent

log = logging.getLogger("nextbest.answers")

DAY = 86_400.0
AFFINITIES, THINGS, FIRED = 10, 50, 10
MODELS = ("rfm", "churn", "value", "next-purchase", "channel", "lifecycle")

Result = TypeVar("Result")


class Cards:
    """Puts cards together; what cannot be had is null on the card."""

    def __init__(
        self, parts: Parts, predictions: PredictionLadders, channels: ChannelLadder, points: PointRules
    ) -> None:
        self._parts, self._predictions, self._channels = parts, predictions, channels
        self._rules, self._profiler = Rules(points.thresholds), Profiler(parts)
        self._next_bests = NextBests(parts)

    def card(self, contact_id: str, now: datetime, whole: bool = True) -> ContactCard | None:
        """Return the card; None for a contact nothing is known of.

        whole: with the past and what to do next, not only how the contact stands.
        """
        deadline = self._parts.patience()
        person = self._parts.people.many([contact_id], now, deadline)[0]
        consents = self._channels.consents(contact_id, person)
        recorded = any(c.consent is not None or c.reachable is not None for c in consents.values())
        if not (person.known or recorded):
            return None
        frame = rows_of([person])
        state = self._profiler.lifecycle.score(frame).iloc[0]
        predictions = self._predictions.of([person], TASKS, now, self._parts.patience())[0]
        more = self._more(contact_id, frame, now) if whole else {}
        return ContactCard(
            contact_id=contact_id,
            segment=self._segment(person, frame),
            engagement=_engagement(person, now, state),
            stage=str(state["stage"]),
            rule_score=self._rule_score(frame),
            predictions=predictions,
            worth=worth(predictions),
            affinities=_affinities(person),
            consents=consents,
            simulated=self._simulated(),
            as_of=AsOf(moment=now, position=person.position),
            **more,
        )

    def _more(self, contact_id: str, frame: pd.DataFrame, now: datetime) -> dict[str, Any]:
        """Return what the whole card has beside: field -> value."""
        found: dict[str, Any] = {
            "next_best": self._next_bests.of(contact_id, now),
            "tags": self._had("tags", lambda: tags_of(self._parts.settings, [contact_id]).get(contact_id)),
        }
        past = self._parts.past
        if past is not None and (who := self._had("people", lambda: past.person(contact_id))) is not None:
            found |= self._past(past, who, frame, now)
        return found

    def _past(self, past: Past, who: Identity, frame: pd.DataFrame, now: datetime) -> dict[str, Any]:
        title, lifecycle = self._parts.shelf.title, self._profiler.lifecycle
        return {
            "ids": sorted({*who.members, *who.visitors}),
            "path": self._had(
                "path", lambda: path(months(past, who, now), frame, now, self._rfm(), lifecycle)
            ),
            "timeline": self._had("timeline", lambda: timeline(past.events(who, now, THINGS), title, THINGS)),
            "triggers": self._had(
                "triggers", lambda: [TriggerEvent(**event) for event in past.triggers(who, FIRED)]
            ),
        }

    def _had(self, part: str, work: Callable[[], Result]) -> Result | None:
        """Return a part of the card; None where it cannot be had, or not in time."""
        try:
            return self._parts.patience().run(f"card {part}", work, rests=False)
        except (Skipped, NotReady) as error:
            log.info("a card comes without %s: %s", part, error)
        except Exception:
            log.exception("a card comes without %s", part)
        return None

    def _rfm(self) -> Any:
        """Return the model of the segments; None where there is none."""
        loaded = self._parts.champions.get("rfm")
        return loaded and loaded.model

    def _simulated(self) -> list[str]:
        held = [self._parts.champions.get(task) for task in MODELS]
        return [loaded.version for loaded in held if loaded is not None and loaded.simulated]

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


def _engagement(person: Person, now: datetime, state: Any) -> Engagement:
    features, times = person.view.features, person.view.times
    seen = times.get("last_seen", math.nan)
    days = (now.timestamp() - seen) / DAY
    level = "none" if math.isnan(days) else "high" if days <= 7 else "medium" if days <= 30 else "low"
    counts: dict[str, Any] = {
        name: max(float(features.get(f"{name}_30d", 0.0)), 0.0)
        for name in ("orders", "spend", "views", "opens", "clicks")
    }
    return Engagement(
        index=float(state["index"]), half=str(state["half"]), last_seen=_moment(seen),
        last_order=_moment(times.get("last_order", math.nan)), level=level, **counts,
    )  # fmt: skip


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
