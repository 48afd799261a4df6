"""SIMULATED messages: a made-up log to show how channel choice is learned where no real one exists.

Nothing here is data. Contacts get tastes for channels that partly follow from what is known of them (how
often they buy, for how much, how recently) and are partly their own; messages go out over channels drawn at
random with known propensities, and are opened and clicked by chance. Every event says {"simulated": true},
every campaign is called simulated-…, and no model shares a line with this file.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nextbest.columns import CONTACT_ID, EVENT_COLUMNS

Floats = npt.NDArray[np.float64]
TRAITS = ("orders_90d", "average_order", "recency_days", "lines_per_order")
CAMPAIGNS = 12


@dataclass(frozen=True)
class Simulation:
    """How the made-up world works."""

    channels: tuple[str, ...] = ("email", "sms", "web_push", "mobile_push")
    days: int = 120
    messages_a_week: float = 1.2
    base: Sequence[float] = (-1.6, -2.0, -2.2, -1.9)
    """Log-odds of a response over each channel, for an average contact."""
    leaning: Sequence[Sequence[float]] = field(
        default=(
            (0.1, 0.7, 0.2, 0.3),
            (0.2, -0.5, -0.9, 0.1),
            (0.5, 0.2, -0.2, -0.8),
            (0.7, -0.3, -0.4, -0.2),
        )
    )
    """What a standard deviation more of each of TRAITS adds to it: one row a channel."""
    own_taste: float = 0.9
    """Standard deviation of what is a contact's own and follows from nothing known."""
    weariness: float = 0.35
    """What each message over the same channel in the last seven days takes away."""
    clicks: float = 0.4
    """P(an opened message is also clicked)."""
    unsubscribes: float = 0.003
    """P(a message makes the contact leave its channel)."""


def simulate_messages(
    contacts: pd.DataFrame, until: datetime, seed: int, simulation: Simulation | None = None
) -> pd.DataFrame:
    """Return canonical events of simulated messages in the days before `until`, in order of time.

    contacts: contact_id and TRAITS, one row a contact, as known when the simulation begins (NaN: average).
    """
    world = simulation or Simulation()
    random = np.random.default_rng(seed)
    tastes = _tastes(contacts, world, random)
    start = until.timestamp() - world.days * 86_400.0
    rows: list[dict[str, Any]] = []
    for contact_id, taste in zip(contacts[CONTACT_ID].astype(str), tastes, strict=True):
        rows.extend(_life(contact_id, taste, start, until.timestamp(), world, random))
    return _canonical(rows)


def _tastes(contacts: pd.DataFrame, world: Simulation, random: np.random.Generator) -> Floats:
    """Return each contact's log-odds of a response over each channel, shape (contacts, channels)."""
    known = contacts[list(TRAITS)].to_numpy(np.float64)
    ranks = pd.DataFrame(known).rank(pct=True).fillna(0.5).to_numpy() - 0.5
    scaled = ranks * np.sqrt(12.0)
    own = random.normal(0, world.own_taste, (len(contacts), len(world.channels)))
    return np.asarray(world.base) + scaled @ np.asarray(world.leaning).T + own


def _life(
    contact_id: str, taste: Floats, start: float, end: float, world: Simulation, random: np.random.Generator
) -> list[dict[str, Any]]:
    """Return one contact's messages and what it did with them."""
    rows: list[dict[str, Any]] = []
    left: set[int] = set()
    sent: list[tuple[float, int]] = []
    at = start + random.exponential(7 / world.messages_a_week) * 86_400
    while at < end and len(left) < len(world.channels):
        choice = [c for c in range(len(world.channels)) if c not in left]
        place = int(random.choice(choice))
        recent = sum(1 for then, channel in sent if channel == place and at - then < 7 * 86_400)
        chance = 1 / (1 + np.exp(-(taste[place] - world.weariness * recent)))
        message = _Message(
            contact_id, world.channels[place], f"simulated-{contact_id}-{len(sent)}", 1 / len(choice)
        )
        rows.extend(message.events(at, end, chance, world.clicks, random))
        if random.random() < world.unsubscribes:
            left.add(place)
            rows.append(message.event("unsubscribed", at + 60))
        sent.append((at, place))
        at += (0.25 + random.exponential(7 / world.messages_a_week)) * 86_400
    return rows


@dataclass(frozen=True)
class _Message:
    contact_id: str
    channel: str
    message_id: str
    propensity: float

    def events(
        self, at: float, end: float, chance: float, clicks: float, random: np.random.Generator
    ) -> list[dict[str, Any]]:
        """Return the sending and, by chance, the opening and the click, as far as they come before `end`."""
        rows = [self.event("message_sent", at)]
        if random.random() < chance:
            opened = at + random.exponential(6 * 3600)
            rows.append(self.event("message_opened", opened))
            if random.random() < clicks:
                rows.append(self.event("message_clicked", opened + random.exponential(60)))
        return [row for row in rows if row["timestamp"] < end]

    def event(self, name: str, at: float) -> dict[str, Any]:
        """Return one event."""
        said = {"simulated": True, "propensity": self.propensity}
        return {
            "event_id": f"{self.message_id}-{name}",
            "event": name,
            "timestamp": at,
            "contact_id": self.contact_id,
            "channel": self.channel,
            "campaign_id": f"simulated-{int(at // (10 * 86_400)) % CAMPAIGNS + 1}",
            "message_id": self.message_id,
            "properties": json.dumps(said),
        }


def _canonical(rows: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=list(EVENT_COLUMNS))
    times = pd.to_datetime(frame["timestamp"].astype(float) * 1e6, unit="us", utc=True)
    frame["timestamp"] = times.dt.floor("us").astype("datetime64[us, UTC]")
    frame["received_at"] = frame["timestamp"]
    frame[["quantity", "price"]] = frame[["quantity", "price"]].astype(np.float64)
    return frame.sort_values(["timestamp", "event_id"], ignore_index=True)


def simulation_start(until: datetime, simulation: Simulation | None = None) -> datetime:
    """Return when the simulated log begins."""
    return until - timedelta(days=(simulation or Simulation()).days)
