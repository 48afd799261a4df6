"""The best channel of each contact: learned policy, own rates, configured default; never a forbidden one."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.state import ContactView
from models._beyond import Seen
from models.base import Floats
from models.candidates import DAY, Candidates, contact_rows
from models.decision import NOTHING, Chosen, best, explored
from models.holdout import held_out
from models.own_rates import OwnRates
from models.permission import WEEK, blocked_by, most_in_a_week, sent_in_a_week
from nextbest.columns import MESSAGE_SENT
from nextbest.settings import Settings
from serving._channel_rank import RankedChannels, Terms, channel_settings, edges, rank, seen_of
from serving.book import ContactBook, Record
from serving.budget import Deadline, Skipped
from serving.champions import Loaded
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

FLOOR = 0.1
"""Probability that is shared evenly among the channels worth sending, where chance is let choose."""
NO_HISTORY = "no_message_history"
SIMULATED = "simulated_model"
CONSENTS_UNAVAILABLE = "consents_unavailable"
NO_HOUR = "quiet_hours"
OWN_RATES = OwnRates()
Mask = npt.NDArray[np.bool_]
Run = Callable[[str, Callable[[], RankedChannels]], RankedChannels]


@dataclass(frozen=True)
class _Given:
    """Everyone's channels ranked, and who did it."""

    candidates: Candidates
    ranked: RankedChannels
    version: str | None
    fallback: str | None


class ChannelLadder:
    """Ranks by the best rung there is, then strikes out what consent, reach, caps and quiet hours forbid."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def answer(self, asked: BestChannelRequest, now: datetime) -> BestChannel:
        """Return one decision a contact; never raises for what the platforms do."""
        deadline = self._parts.patience(len(asked.contact_ids))
        people = self._parts.people.many(asked.contact_ids, now, deadline)
        records = self._records(asked.contact_ids)
        zones = np.array([record.timezone if record else None for record in records], dtype=object)
        terms = Terms.of(asked, self._parts.settings, zones, now)
        given = self._rank(asked, people, terms, deadline)
        ends = edges(given.ranked)
        blocked = [
            list(self._blocked(terms.channels, record, person).values())
            for record, person in zip(records, people, strict=True)
        ]
        allowed = np.array([[not why for why in row] for row in blocked]) & np.isfinite(given.ranked.send_at)
        chosen = choose(given.ranked, allowed, asked.explore, self._parts.random())
        named = sources(given.ranked, chosen, given.version is not None)
        without = left_out(asked.contact_ids, asked, self._parts.settings)
        return BestChannel(
            contacts=[
                self._decision(asked, row, person, record, given, chosen, str(named[row]),
                               bool(without[row]), self._channels(row, given, ends, blocked[row]), now)
                for row, (person, record) in enumerate(zip(people, records, strict=True))
            ]
        )  # fmt: skip

    def consents(self, contact_id: str, person: Person) -> dict[str, Consent]:
        """Return what is recorded of every channel, and whether it may be used."""
        record = self._records([contact_id])[0]
        return {
            channel: Consent(
                consent=record.consent.get(channel) if record else None,
                reachable=record.reachable.get(channel) if record else None,
                permitted=not why,
                blocked_by=why,
            )
            for channel, why in self._blocked(self._parts.settings.channels, record, person).items()
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
        self, asked: BestChannelRequest, people: Sequence[Person], terms: Terms, deadline: Deadline
    ) -> _Given:
        rows = [
            row
            for contact_id, person in zip(asked.contact_ids, people, strict=True)
            for row in contact_rows(contact_id, person.view.features, person.view.channels, terms.now)
        ]
        candidates = Candidates.from_long(pd.DataFrame(rows), terms.channels)
        ranked = ranked_by(self._parts, candidates, _seen(people, terms), terms, deadline.run)
        return _Given(candidates, *ranked)

    # --- deciding

    def _decision(
        self,
        asked: BestChannelRequest,
        row: int,
        person: Person,
        record: Record | None,
        given: _Given,
        chosen: Chosen,
        source: str,
        without: bool,
        channels: list[RankedChannel],
        now: datetime,
    ) -> ChannelDecision:
        place = int(chosen.place[row])
        intended = None if place < 0 else _name(given, place)
        fallback = _fallback(given, row, source, person, record)
        taken = None if without else intended
        decision = ChannelDecision(
            contact_id=asked.contact_ids[row],
            best=taken,
            channels=channels,
            send_at=None if taken is None else _moment(given.ranked.send_at[row, place]),
            propensity=float(chosen.propensity[row]),
            held_out=without,
            value_from=given.ranked.value_from,
            decision_id=new_id(),
            source=source,
            model_version=given.version,
            fallback=fallback,
            as_of=AsOf(moment=now, position=person.position),
        )
        self._parts.record(
            decision_id=decision.decision_id, timestamp=now, kind="best_channel",
            contact_id=decision.contact_id, anonymous_id=None, placement=None, campaign_id=asked.campaign_id,
            source=source, model_version=given.version, fallback=fallback, explore=asked.explore,
            held_out=without, intended_channel=intended,
            shown=[[decision.best, decision.propensity, source]],
        )  # fmt: skip
        return decision

    def _channels(
        self, row: int, given: _Given, ends: tuple[Floats, Floats], blocked: list[list[str]]
    ) -> list[RankedChannel]:
        ranked, candidates = given.ranked, given.candidates
        sent = candidates.of("sent_total")
        answers = np.maximum(candidates.of("opened_total"), candidates.of("clicked_total"))
        found = []
        for place in ranked.order[row]:
            moment = _moment(ranked.send_at[row, place])
            why = blocked[place] + ([NO_HOUR] if moment is None else [])
            found.append(
                RankedChannel(
                    channel=_name(given, place),
                    probability=float(ranked.weighed.probability[row, place]),
                    interval=(float(ends[0][row, place]), float(ends[1][row, place])),
                    expected_value=float(ranked.weighed.worth[row, place]),
                    evidence=ChannelEvidence(
                        messages=float(sent[row, place]), responses=float(answers[row, place])
                    ),
                    eligible=not why,
                    blocked_by=why,
                    send_at=moment,
                )
            )
        return found

    def _blocked(
        self, channels: Iterable[str], record: Record | None, person: Person
    ) -> dict[str, list[str]]:
        """Return what forbids each channel, in their order."""
        if record is None:
            return {channel: [CONSENTS_UNAVAILABLE] for channel in channels}
        settings, view = self._parts.settings, person.view
        week, unknown = _sent_any(view), unknown_consent(settings, self._parts.book)
        found = {}
        for channel in channels:
            state = view.channels.get(channel, {})
            since = (view.now - state.get("last_sent", float("nan"))) / DAY
            found[channel] = blocked_by(
                channel_settings(settings, channel),
                consent=record.consent.get(channel),
                reachable=record.reachable.get(channel),
                sent_week=min(most_in_a_week(state.get("sent_7d", 0.0), since), week),
                unknown_consent=unknown,
                unknown_reach=settings.unknown_reach,
            )
        return found


def ranked_by(
    parts: Parts, candidates: Candidates, seen: Seen, terms: Terms, run: Run
) -> tuple[RankedChannels, str | None, str | None]:
    """Return the channels ranked, by which model (None: the contacts' own rates), and why not by one.

    run: runs a model of a version, or raises Skipped.
    """
    try:
        loaded = usable(parts)
        return run(loaded.version, lambda: rank(loaded.model, candidates, seen, terms)), loaded.version, None
    except Skipped as skipped:
        why = skipped.reason
    except Exception:
        log.exception("the channel model failed")
        why = MODEL_FAILED
    return default_first(rank(OWN_RATES, candidates, seen, terms), terms), None, why


def left_out(contact_ids: Sequence[str], asked: BestChannelRequest, settings: Settings) -> Mask:
    """Tell who gets nothing, so that the campaign's worth can be measured; only campaigns hold out."""
    if asked.campaign_id is None:
        return np.zeros(len(contact_ids), dtype=np.bool_)
    share, salt = settings.message_holdout_share, settings.message_holdout_salt
    return held_out(contact_ids, share, salt, asked.campaign_id)


def choose(ranked: RankedChannels, allowed: Mask, explore: bool, random: np.random.Generator) -> Chosen:
    """Choose each contact's channel among the allowed, or let chance: the less is known, the more freely."""
    if not explore:
        return best(ranked.weighed.worth, allowed, ranked.order)
    low, high = edges(ranked)
    spread = (high - low) / (2 * 1.645) * ranked.value  # the interval taken for a normal one's 90 %
    return explored(ranked.weighed.worth, spread, allowed, FLOOR, random)


def sources(ranked: RankedChannels, chosen: Chosen, by_model: bool) -> npt.NDArray[np.object_]:
    """Return who ranked each contact's channels: of a model, what it names for the channel chosen, or first.

    Without one, the contact's own rates where it has any.
    """
    each = ranked.estimate.source
    if not by_model:
        return np.where((each != "default").any(axis=1), OWN_RATES.kind, "default").astype(object)
    place = np.where(chosen.place == NOTHING, ranked.order[:, 0], chosen.place)
    return np.asarray(each[np.arange(len(each)), place])


def usable(parts: Parts) -> Loaded:
    """Return the champion that may decide. Raises Skipped with the reason where there is none."""
    loaded = parts.champion("channel")
    if loaded.simulated and not parts.settings.serve_simulated:
        raise Skipped(SIMULATED)
    return loaded


def default_first(ranked: RankedChannels, terms: Terms) -> RankedChannels:
    """Put the configured default first, for contacts who have rates of their own over no channel."""
    default = terms.settings.default_channel
    if default not in terms.channels:
        return ranked
    unknown = (ranked.estimate.source == "default").all(axis=1)
    order = ranked.order.copy()
    first = np.argsort(order[unknown] != terms.channels.index(default), axis=1, kind="stable")
    order[unknown] = np.take_along_axis(order[unknown], first, axis=1)
    return replace(ranked, order=order)


def unknown_consent(settings: Settings, book: ContactBook) -> Literal["deny", "allow"]:
    """Return what a consent nobody recorded means (nextbest.settings.Settings.unknown_consent)."""
    if settings.unknown_consent != "auto":
        return settings.unknown_consent
    return "deny" if book.keeps_consents else "allow"


def _sent_any(view: ContactView) -> float:
    """Return models.permission.sent_in_a_week."""
    steps = zip(view.step_names, view.step_times, strict=True)
    ages = [(view.now - seconds) / DAY for name, seconds in steps if name == MESSAGE_SENT]
    recent, weights = sum(age < WEEK for age in ages), sum(2 ** (-age / WEEK) for age in ages)
    return float(sent_in_a_week(float(recent), weights, view.features.get("sent_7d", 0.0)))


def _seen(people: Sequence[Person], terms: Terms) -> Seen:
    views = [person.view for person in people]
    owner = np.repeat(np.arange(len(views)), [len(view.step_names) for view in views])
    names = np.array([name for view in views for name in view.step_names], dtype=object)
    return seen_of(owner, names, np.concatenate([view.step_times for view in views]), terms)


def _fallback(given: _Given, row: int, source: str, person: Person, record: Record | None) -> str | None:
    """Return why it was not the first choice that ranked this contact's channels."""
    if record is None:
        return CONSENTS_UNAVAILABLE
    if person.trouble is not None:
        return person.trouble
    nothing_sent = not given.candidates.of("sent_total")[row].any()
    if source == "default" and given.fallback is not None and nothing_sent:
        return NO_HISTORY
    return given.fallback


def _name(given: _Given, place: int) -> str:
    return given.candidates.channels[place]


def _moment(seconds: Any) -> datetime | None:
    return None if np.isnan(seconds) else datetime.fromtimestamp(float(seconds), UTC)
