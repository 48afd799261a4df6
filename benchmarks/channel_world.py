"""Channels in a simulated world: `python -m benchmarks.channel_world --data 50000 [--seed N] [--json OUT]`.

--data: how many contacts. All of it is simulated, and that is its use: the truth is known, so what a channel
policy leaves on the table (its regret) can be measured, which no log of real messages allows. The world
shares no code with the models it judges; a policy sees events, features, consents and the log.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import _report as report
from benchmarks._world_nature import Nature
from benchmarks._world_rules import RULES, Tally
from benchmarks._world_settings import NOTHING
from benchmarks._world_truth import Decisions, World

COLUMNS = ("net_value", "regret", "of_oracle", "responses", "conversions", "sent", "forbidden")
BY_CHANNEL = (
    "messages", "response_rate", "profit_a_message", "consent", "reach", "permitted_now", "oracle_share",
)  # fmt: skip

__all__ = ["NOTHING", "Decisions", "World", "judged", "main", "policies"]


def main() -> None:
    """Simulate, measure, print, write."""
    asked = report.options((__doc__ or "").splitlines()[0], "how many contacts to simulate").parse_args()
    watch = report.Stopwatch()
    world = World.simulated(int(asked.data), seed=asked.seed)
    built = watch.seconds
    rows = {name: judged(world, decisions) for name, decisions in policies(world)}
    print(
        f"SIMULATED: {world.settings.contacts} contacts, {world.settings.days} days, {len(world.log)} "
        f"decisions, {len(world.orders.contact)} orders, {built} s; figures are means a contact"
    )
    channels = by_channel(world)
    report.show(channels, BY_CHANNEL)
    print()
    report.show(rows, COLUMNS)
    ours = {"simulate_seconds": built, "seconds": watch.seconds, "peak_mb": report.peak_mb()}
    data = {"name": "simulated", "contacts": world.settings.contacts, "days": world.settings.days}
    report.write(asked.json, ours, rows, data, [asked.seed], channels=channels)


def policies(world: World) -> Iterator[tuple[str, Decisions]]:
    """Yield the oracle, the rules and sending nothing, with their decisions for everyone at `world.end`."""
    best = world.oracle()
    tally = Tally.of(world.log, world.settings, world.end)
    permitted = world.permitted(best.contact)
    yield "oracle", best
    yield "oracle, one hour for all", world.oracle(hour=tally.hour)
    yield "the same, latent taste unknown", _without_latent(world).oracle(hour=tally.hour)
    yield "oracle of responses", world.oracle_of_responses()
    for name, rule in RULES.items():
        yield name, _at_best_hour(best.contact, rule(tally, permitted), tally)
    yield "usual policy", world.usual(best.contact)
    yield "nothing", Decisions(best.contact, np.full(len(best.contact), NOTHING), best.hour)


def judged(world: World, decisions: Decisions) -> dict[str, Any]:
    """Return a policy's true figures, means over its decisions; `forbidden` counts broken rules."""
    value, regret = world.value_of(decisions), world.regret(decisions)
    return {
        "net_value": float(value.mean()),
        "regret": float(regret.mean()),
        "of_oracle": float(value.mean() / max(float((value + regret).mean()), 1e-12)),
        "responses": float(world.responses_of(decisions).mean()),
        "conversions": float(world.conversions_of(decisions).mean()),
        "sent": float((decisions.channel != NOTHING).mean()),
        "forbidden": int(world.forbidden(decisions).sum()),
    }


def by_channel(world: World) -> dict[str, dict[str, Any]]:
    """Return what the log and the truth show of each channel."""
    log, settings = world.log, world.settings
    everyone = np.arange(settings.contacts)
    permitted, chosen = world.permitted(everyone), world.oracle().channel
    rows = {}
    for place, channel in enumerate(settings.channels):
        sent = log.take(log.channel == place)
        left = np.isfinite(sent.left_at) * settings.loss
        earned = sent.order_value * settings.margin - channel.cost - left
        rows[channel.name] = {
            "messages": len(sent),
            "response_rate": float(sent.response.mean()) if len(sent) else None,
            "profit_a_message": float(earned.mean()) if len(sent) else None,
            "consent": float(world.people.consent[:, place].mean()),
            "reach": float(world.people.reach[:, place].mean()),
            "permitted_now": float(permitted[:, place].mean()),
            "oracle_share": float((chosen == place).mean()),
        }
    share = float((chosen == NOTHING).mean())
    return rows | {"nothing": {"messages": int((~log.sent).sum()), "oracle_share": share}}


def _without_latent(world: World) -> World:
    """Return the world if nobody had a taste of their own: its oracle knows what features tell."""
    people = replace(world.people, latent=np.zeros_like(world.people.latent))
    return World(world.settings, people, Nature(people, world.settings), world.log, world.orders)


def _at_best_hour(contact: npt.NDArray[np.int64], channel: npt.NDArray[np.int64], tally: Tally) -> Decisions:
    return Decisions(contact, channel, tally.hour[np.maximum(channel, 0)])


if __name__ == "__main__":
    main()
