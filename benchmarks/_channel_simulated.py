"""The channel decision in a simulated world: what it leaves on the table, and whether it keeps the rules."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks import _report as report
from benchmarks._world_rules import RULES, Tally
from benchmarks._world_settings import DAY, Settings
from benchmarks._world_truth import Decisions, World
from benchmarks.channel_world import judged
from models._ranked import Estimate
from models.candidates import Candidates
from models.channel import Channel, Policy
from models.decision import NOTHING, best
from models.local_time import week_hours
from models.messages import ChannelLog
from models.permission import permitted
from nextbest.settings import ChannelSettings
from nextbest.settings import Settings as Configuration
from serving._channel_rank import Terms, rank

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_MESSAGES = 500_000
"""The latest, to learn from."""
ANSWERS = 7 * DAY
"""Seconds an answer may take."""
WINDOW = 24
POLICIES: tuple[Policy, ...] = ("learned", "rates", "best_arm")


def simulated(contacts: int, seed: int) -> dict[str, dict[str, Any]]:
    """Return the figures of ours and of the rules on one simulated world, per contact."""
    watch = report.Stopwatch()
    world = World.simulated(contacts, seed=seed)
    rows: dict[str, dict[str, Any]] = {}
    everyone = np.arange(contacts)
    tally, allowed = Tally.of(world.log, world.settings, world.end), world.permitted(everyone)
    for name, rule in RULES.items():
        place = rule(tally, allowed)
        rows[name] = judged(world, Decisions(everyone, place, tally.hour[np.maximum(place, 0)]))
    rows["oracle"] = judged(world, world.oracle())
    begun = watch.seconds
    model = Channel.learn(log_of(world), seed=seed)
    learned = watch.seconds
    now = np.full(contacts, world.end)
    ours = judged(world, decided(world, model, everyone, now))
    rows["nextbest channel"] = ours | {
        "policy": model.policy,
        "learn_seconds": round(learned - begun, 1),
        "answered": _answered(world, model),
        "regret_of_rule": ours["regret"] / rows["interactions per message"]["regret"],
        "regret_of_best_arm": ours["regret"] / rows["best arm"]["regret"],
    }
    for policy in POLICIES:
        fixed = _Fixed(model, policy)
        rows[f"  its {policy} policy"] = judged(world, decided(world, fixed, everyone, now))
    return rows


def log_of(world: World, most: int = MOST_MESSAGES) -> ChannelLog:
    """Return what a business would have logged, of messages whose answers are known."""
    sent = world.log.take(world.log.sent)
    sent = sent.take(np.argsort(sent.time, kind="stable"))
    sent = sent.take(sent.time < world.end - ANSWERS)
    sent = sent.take(np.arange(max(0, len(sent) - most), len(sent)))
    return ChannelLog(
        states=states_of(world, sent.contact, sent.time),
        sent=sent.channel,
        responses=sent.response.astype(np.float64),
        propensity=sent.propensity,
        hours=week_hours(sent.time, _zones(world)[sent.contact]),
        seen=world.visits.seen(sent.contact, sent.time),
        left=np.isfinite(sent.left_at).astype(np.float64),
        earned=np.nan_to_num(sent.order_value) * world.settings.margin,
    )


def states_of(world: World, contact: Ints, at: Floats) -> Candidates:
    """Return contacts as known at moments, as the models read them."""
    week, quarter, ever = (world.history.counts(contact, at, days) for days in (7.0, 90.0, None))
    blocks = [
        week[..., :1], quarter[..., :1], ever[..., :1], quarter[..., 1:2], ever[..., 1:2],
        quarter[..., 2:], ever[..., 2:], world.history.days_since(contact, at),
    ]  # fmt: skip
    return Candidates(world.features(contact, at), world.channels, np.concatenate(blocks, axis=2))


def decided(world: World, model: Any, contact: Ints, at: Floats) -> Decisions:
    """Return what the product decides for contacts at one moment: channel and local hour."""
    candidates = states_of(world, contact, at)
    return _decided(world, model, candidates, contact, float(at[0]))


def kept_rules(world: World, decisions: int, seed: int) -> tuple[int, int]:
    """Decide so often at random moments, by chances drawn at random; return decisions, and those forbidden.

    What a message is worth is drawn anew each time, so that every channel is wanted by somebody.
    """
    random = np.random.default_rng(seed)
    contact, made, broken = np.arange(world.settings.contacts), 0, 0
    while made < decisions:
        at = world.end - random.random() * 60 * DAY
        moments = np.full(len(contact), at)
        found = _decided(world, _Chance(random), states_of(world, contact, moments), contact, at)
        broken += int(world.forbidden(found, moments).sum())
        made += len(contact)
    return made, broken


class _Fixed:
    """A model that answers by one of its policies, whichever it had kept."""

    def __init__(self, model: Channel, policy: Policy) -> None:
        self._model, self._policy = model, policy
        self.beyond = model.beyond

    def estimate(self, candidates: Candidates) -> Estimate:
        return self._model.estimate(candidates, self._policy)


class _Chance:
    """A model that answers anything."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random

    def estimate(self, candidates: Candidates) -> Estimate:
        shape = (len(candidates), len(candidates.channels))
        return Estimate(self._random.random(shape), np.full(shape, 10.0), np.full(shape, "chance", object))


def _decided(world: World, model: Any, candidates: Candidates, contact: Ints, at: float) -> Decisions:
    records = world.contacts(at).iloc[contact]
    terms = Terms(
        channels=world.channels,
        settings=_configured(world.settings),
        now=at,
        start=at,
        window_hours=WINDOW,
        value=10.0 if isinstance(model, _Chance) else None,
        zones=records["timezone"].to_numpy(dtype=object),
    )
    ranked = rank(model, candidates, world.visits.seen(contact, np.full(len(contact), at)), terms)
    allowed = permitted(
        terms.each, _flags(records, "consent", world), _flags(records, "reachable", world),
        candidates.of("sent_7d"), candidates.of("days_since_sent"),
        world.history.sent(contact, np.full(len(contact), at), since=7 * DAY).sum(axis=1),
    )  # fmt: skip
    place = best(ranked.weighed.worth, allowed & np.isfinite(ranked.send_at), ranked.order).place
    moment = np.take_along_axis(ranked.send_at, np.maximum(place, 0)[:, None], axis=1)[:, 0]
    hour = world.local_hour(contact, np.where(place == NOTHING, at, moment))
    return Decisions(contact, place, hour)


def _configured(settings: Settings) -> Configuration:
    channels = {
        c.name: ChannelSettings(
            cost=c.cost, quiet_from=c.quiet_from, quiet_to=c.quiet_to, weekly_cap=c.weekly_cap
        )
        for c in settings.channels
    }
    return Configuration(channels=channels, unsubscribe_cost=settings.loss)


def _flags(records: pd.DataFrame, prefix: str, world: World) -> Floats:
    return np.stack([records[f"{prefix}_{name}"].to_numpy(np.float64) for name in world.channels], axis=1)


def _zones(world: World) -> npt.NDArray[np.object_]:
    return np.asarray(world.contacts()["timezone"].to_numpy(dtype=object))


def _answered(world: World, model: Channel) -> float:
    """Return the share of the reachable contacts that have an estimate over every channel."""
    everyone = np.arange(world.settings.contacts)
    states = states_of(world, everyone, np.full(len(everyone), world.end))
    known = np.asarray(np.isfinite(model.estimate(states).probability).all(axis=1))
    reachable = np.flatnonzero(world.permitted(everyone).any(axis=1))
    return float(np.mean(known[reachable]))
