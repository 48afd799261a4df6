"""The best channel of each contact: learned policy, own rates, configured default; never a forbidden one."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.candidates import contact_rows
from models.own_rates import OwnRates
from models.permission import blocked_by, most_in_a_week, next_allowed
from nextbest.settings import ChannelSettings
from serving.book import Record
from serving.budget import Deadline, Skipped
from serving.decisions import new_id
from serving.parts import Parts
from serving.people import Person
from serving.recommend import MODEL_FAILED
from serving.schemas import (
    AsOf,
    BestChannel,
    BestChannelRequest,
    ChannelDecision,
    ChannelEvidence,
    Consent,
    RankedChannel,
)

log = logging.getLogger("nextbest.answers")

DAY = 86_400.0
DRAWS = 200
"""Thompson draws: one of them decides, the share that agrees with it is its propensity."""
NO_HISTORY = "no_message_history"
SIMULATED = "simulated_model"
CONSENTS_UNAVAILABLE = "consents_unavailable"
OWN_RATES = OwnRates()
UNKNOWN_CHANNEL = ChannelSettings()

Rows = list[dict[str, Any]]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Given:
    """Every contact's channels, best first (rows of RANKED), and who said so."""

    rows: Mapping[str, Rows]
    version: str | None
    fallback: str | None


class ChannelLadder:
    """Ranks by the best rung there is, then strikes out what consent, reach and caps forbid."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def answer(self, asked: BestChannelRequest, now: datetime) -> BestChannel:
        """Return one decision a contact; never raises for what the platforms do."""
        deadline = self._parts.patience(len(asked.contact_ids))
        people = self._parts.people.many(asked.contact_ids, now, deadline)
        records = self._records(asked.contact_ids)
        channels = list(asked.channels or self._parts.settings.channels)
        given = self._rank(asked, people, channels, now, deadline)
        decisions = [
            self._decide(asked, contact_id, person, record, given, now)
            for contact_id, person, record in zip(asked.contact_ids, people, records, strict=True)
        ]
        return BestChannel(contacts=decisions)

    def consents(self, contact_id: str, person: Person) -> dict[str, Consent]:
        """Return what is recorded of every channel, and whether it may be used."""
        record = self._records([contact_id])[0]
        return {
            channel: Consent(
                consent=record.consent.get(channel) if record else None,
                reachable=record.reachable.get(channel) if record else None,
                permitted=not (why := self._blocked(channel, record, person)),
                blocked_by=why,
            )
            for channel in self._parts.settings.channels
        }

    def _records(self, contact_ids: Sequence[str]) -> Sequence[Record | None]:
        """Return the contacts' records; None where they cannot be read, which permits nothing."""
        try:
            return self._parts.book.of(contact_ids)
        except Exception:
            log.exception("consents cannot be read: nothing is permitted")
            return [None] * len(contact_ids)

    # --- ranking

    def _rank(
        self,
        asked: BestChannelRequest,
        people: Sequence[Person],
        channels: list[str],
        now: datetime,
        deadline: Deadline,
    ) -> _Given:
        moment = now.timestamp()
        frame = pd.DataFrame(
            [
                row
                for contact_id, person in zip(asked.contact_ids, people, strict=True)
                for row in contact_rows(contact_id, person.view.features, person.view.channels, moment)
            ]
        )
        costs = {channel: self._settings(channel).cost for channel in channels}

        def rank(model: Any) -> Mapping[str, Rows]:
            return _by_contact(model.rank(frame, channels, asked.value, costs))

        try:
            loaded = self._parts.champion("channel")
            if loaded.simulated and not self._parts.settings.serve_simulated:
                raise Skipped(SIMULATED)
            ranked = deadline.run(loaded.version, lambda: rank(loaded.model))
            return _Given(ranked, loaded.version, None)
        except Skipped as skipped:
            return _Given(rank(OWN_RATES), None, skipped.reason)
        except Exception:
            log.exception("the channel model failed")
            return _Given(rank(OWN_RATES), None, MODEL_FAILED)

    # --- deciding

    def _decide(
        self,
        asked: BestChannelRequest,
        contact_id: str,
        person: Person,
        record: Record | None,
        given: _Given,
        now: datetime,
    ) -> ChannelDecision:
        rows = given.rows[contact_id]
        source, fallback = _source(rows, person, record, given)
        if source == "default" and given.version is None:
            rows = sorted(rows, key=lambda row: row["channel"] != self._parts.settings.default_channel)
        shown = [self._channel(row, record, person) for row in rows]
        worth = [
            place for place, channel in enumerate(shown) if channel.eligible and channel.expected_value > 0
        ]
        chosen, propensity = (worth[0], 1.0) if worth else (None, 1.0)
        if asked.explore and len(worth) > 1:
            chosen, propensity = self._explore([shown[place] for place in worth], worth, asked.value)
        best = None if chosen is None else shown[chosen].channel
        if chosen is not None and given.version is not None:
            source = str(rows[chosen]["source"])
        decision = ChannelDecision(
            contact_id=contact_id,
            best=best,
            channels=shown,
            send_at=None if best is None else self._send_at(best, record, asked.at or now),
            propensity=propensity,
            decision_id=new_id(),
            source=source,
            model_version=given.version,
            fallback=fallback,
            as_of=AsOf(moment=now, position=person.position),
        )
        self._parts.record(
            decision_id=decision.decision_id, timestamp=now, kind="best_channel", contact_id=contact_id,
            anonymous_id=None, placement=None, campaign_id=asked.campaign_id, source=source,
            model_version=given.version, fallback=fallback, explore=asked.explore,
            shown=[[best, propensity, source]],
        )  # fmt: skip
        return decision

    def _channel(self, row: Mapping[str, Any], record: Record | None, person: Person) -> RankedChannel:
        name = str(row["channel"])
        blocked = self._blocked(name, record, person)
        return RankedChannel(
            channel=name,
            probability=float(row["probability"]),
            interval=(float(row["low"]), float(row["high"])),
            expected_value=float(row["expected_value"]),
            evidence=ChannelEvidence(messages=float(row["sent_total"]), responses=float(row["responses"])),
            eligible=not blocked,
            blocked_by=blocked,
        )

    def _blocked(self, channel: str, record: Record | None, person: Person) -> list[str]:
        if record is None:
            return [CONSENTS_UNAVAILABLE]
        state = person.view.channels.get(channel, {})
        since = (person.view.now - state.get("last_sent", float("nan"))) / DAY
        return blocked_by(
            self._settings(channel),
            consent=record.consent.get(channel),
            reachable=record.reachable.get(channel),
            sent_week=most_in_a_week(state.get("sent_7d", 0.0), since),
            unknown_consent=self._unknown_consent(),
            unknown_reach=self._parts.settings.unknown_reach,
        )

    def _unknown_consent(self) -> Literal["deny", "allow"]:
        configured = self._parts.settings.unknown_consent
        if configured != "auto":
            return configured
        return "deny" if self._parts.book.keeps_consents else "allow"

    def _explore(
        self, worth: Sequence[RankedChannel], places: Sequence[int], value: float
    ) -> tuple[int, float]:
        """Return the place Thompson sampling chooses (Thompson 1933) and the share of draws that agree."""
        random = self._parts.random()
        costs = np.array([self._settings(channel.channel).cost for channel in worth])
        a, b = _beta(worth)
        drawn = random.beta(a, b, (DRAWS, len(worth))) * value - costs
        winners = drawn.argmax(axis=1)
        chosen = int(winners[0])
        return places[chosen], float(((winners == chosen).sum() + 1) / (DRAWS + len(worth)))

    def _send_at(self, channel: str, record: Record | None, at: datetime) -> datetime:
        settings = self._settings(channel)
        return next_allowed(at, record.timezone if record else None, settings.quiet_from, settings.quiet_to)

    def _settings(self, channel: str) -> ChannelSettings:
        return self._parts.settings.channels.get(channel, UNKNOWN_CHANNEL)


def _source(rows: Rows, person: Person, record: Record | None, given: _Given) -> tuple[str, str | None]:
    """Return who ranked this contact's channels, and why not the first choice."""
    sources = [str(row["source"]) for row in rows]
    source = (
        sources[0] if given.version is not None else next((s for s in sources if s != "default"), "default")
    )
    if record is None:
        return source, CONSENTS_UNAVAILABLE
    if person.trouble is not None:
        return source, person.trouble
    if source == "default" and given.fallback is not None and not any(row["sent_total"] for row in rows):
        return source, NO_HISTORY
    return source, given.fallback


def _by_contact(frame: pd.DataFrame) -> dict[str, Rows]:
    rows: dict[str, Rows] = {}
    for row in frame.to_dict("records"):
        rows.setdefault(str(row["contact_id"]), []).append({str(name): value for name, value in row.items()})
    return rows


def _beta(channels: Sequence[RankedChannel]) -> tuple[Floats, Floats]:
    """Return the Betas with the probability as mean and a 90 % interval about as wide as the one shown."""
    mean = np.clip([channel.probability for channel in channels], 1e-4, 1 - 1e-4)
    spread = np.array([channel.interval[1] - channel.interval[0] for channel in channels]) / (2 * 1.645)
    weight = np.clip(mean * (1 - mean) / np.maximum(spread, 1e-6) ** 2 - 1, 1.0, 1e6)
    return mean * weight, (1 - mean) * weight
