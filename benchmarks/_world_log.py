"""The simulated past: a usual policy decides day by day, and contacts answer, buy, tire and leave.

Once a day at most, at its local midnight, a contact is considered; the policy draws a channel among the
permitted ones, or nothing, and then an hour of that day, both with known propensities.
"""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from benchmarks import _world_hours as hours
from benchmarks._world_nature import Nature, State
from benchmarks._world_people import People
from benchmarks._world_settings import DAY, HOUR, NOTHING, START, Settings
from benchmarks._world_usual import Usual, drawn

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Log:
    """Simulated decisions in order of day; times in epoch seconds, NaN where it never was."""

    contact: Ints
    at: Floats
    """When it was decided: the contact's local midnight."""
    time: Floats
    """When the message went out; `at` where nothing was sent."""
    channel: Ints
    """Place in the settings' channels, NOTHING (-1) where nothing was sent."""
    hour: Ints
    """Local hour of sending; -1 where nothing was sent."""
    propensity: Floats
    """P(this channel, or nothing)."""
    hour_propensity: Floats
    """P(this hour | channel); 1 where nothing was sent."""
    permitted: Bools
    """Channels it chose among, shape (decisions, channels)."""
    bounced: Bools
    response: Bools
    """Opened or clicked, always within seven days."""
    answered_at: Floats
    clicked_at: Floats
    left_at: Floats
    """When it was answered with unsubscribing."""
    order_value: Floats
    """Of the order the message brought; 0 where none."""
    chance: Floats
    """The true P(response), for checks alone: no policy may read it. 0 where nothing was sent."""

    def __len__(self) -> int:
        return len(self.contact)

    def take(self, rows: npt.NDArray[np.bool_] | Ints) -> "Log":
        """Return the given decisions only (positions or a mask)."""
        return Log(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @property
    def sent(self) -> Bools:
        """Return where a message went out."""
        return self.channel != NOTHING


@dataclass(frozen=True)
class Orders:
    """Simulated orders, one place an order."""

    contact: Ints
    time: Floats
    value: Floats
    decision: Ints
    """Place in the log of the message that brought it; -1: it came anyway."""


def simulate(
    people: People, nature: Nature, settings: Settings, random: np.random.Generator
) -> tuple[Log, Orders]:
    """Live through the days."""
    past = _Past(people, nature, settings, random)
    for day in range(settings.days):
        past.live(day)
    return past.log(), past.orders()


class _Past:
    """What the days so far have left behind; weariness as of the local midnight of the day."""

    def __init__(
        self, people: People, nature: Nature, settings: Settings, random: np.random.Generator
    ) -> None:
        n, channels = settings.contacts, settings.channels
        self._people, self._nature, self._settings, self._random = people, nature, settings, random
        self._weary_any, self._weary_same = np.zeros(n), np.zeros((n, len(channels)))
        self._sent = np.zeros((7, n, len(channels)), dtype=np.int8)
        self._open = people.consent & people.reach
        self._last_order = people.last_order.copy()
        self._coming: list[tuple[Ints, Floats]] = []
        self._decisions: list[Log] = []
        self._orders: list[Orders] = []
        self._count = 0
        self._usual = Usual(people, settings)
        self._caps = np.array([c.weekly_cap for c in channels])
        self._wait = np.array([c.wait for c in channels])
        self._buying = _buying_hours()

    def live(self, day: int) -> None:
        """Let a day pass."""
        midnight = (START + day * DAY - self._people.offset * HOUR).astype(np.float64)
        self._arrive(midnight)
        self._buy_anyway(day, midnight)
        contact = np.flatnonzero(self._random.random(len(midnight)) < self._settings.decisions_a_day)
        at = midnight[contact]
        permitted = self._open[contact] & (self._sent.sum(axis=0)[contact] < self._caps)
        channel, propensity = self._usual.channels(contact, permitted, self._random)
        decided = self._send(contact, at, permitted, channel, propensity)
        self._remember(day, decided)
        self._decisions.append(decided)
        self._count += len(decided)

    def log(self) -> Log:
        """Return all decisions."""
        names = [field.name for field in fields(Log)]
        return Log(**{name: np.concatenate([getattr(d, name) for d in self._decisions]) for name in names})

    def orders(self) -> Orders:
        """Return all orders."""
        names = [field.name for field in fields(Orders)]
        return Orders(**{name: np.concatenate([getattr(o, name) for o in self._orders]) for name in names})

    def _send(self, contact: Ints, at: Floats, permitted: Bools, channel: Ints, propensity: Floats) -> Log:
        """Send at a drawn hour and draw what comes of it."""
        random, sent = self._random, channel != NOTHING
        over = np.where(sent, channel, 0)
        hour, hour_propensity = self._usual.hours(over, random)
        opening = at + hour * HOUR
        time = opening + random.integers(0, 3600, len(at))
        state = State(
            self._weary_any[contact] * self._kept(opening - at),
            self._weary_same[contact, over] * self._kept(opening - at),
            (at - self._last_order[contact]) / DAY,
        )
        week_hour = hours.week_hour(opening, self._people.offset[contact])
        expected = self._nature.expected(contact, over, week_hour, state)
        found = self._nature.draw(contact, over, expected, random)
        wait = random.exponential(self._wait[over] * HOUR)
        answered = time + 1 + np.minimum(np.ceil(wait), 6 * DAY)
        return Log(
            contact=contact,
            at=at,
            time=np.where(sent, time, at),
            channel=channel,
            hour=np.where(sent, hour, -1),
            propensity=propensity,
            hour_propensity=np.where(sent, hour_propensity, 1.0),
            permitted=permitted,
            bounced=sent & found.bounced,
            response=sent & found.response,
            answered_at=np.where(sent & found.response, answered, np.nan),
            clicked_at=np.where(sent & found.clicked, answered + 5, np.nan),
            # the latest hour of sending is 21, so who leaves has left by the next decision
            left_at=np.where(sent & found.left, time + random.integers(60, 7200, len(at)), np.nan),
            order_value=np.where(sent, found.order_value, 0.0),
            chance=np.where(sent, expected.response, 0.0),
        )

    def _remember(self, day: int, decided: Log) -> None:
        """Tire whom a message went to, close what was left, and let the orders come."""
        self._weary_any *= self._kept(DAY)
        self._weary_same *= self._kept(DAY)
        sent = decided.take(decided.sent)
        adds = self._kept(sent.at + DAY - sent.time)
        self._weary_any[sent.contact] += adds
        self._weary_same[sent.contact, sent.channel] += adds
        self._sent[day % 7] = 0  # a week ago no longer counts
        self._sent[day % 7, sent.contact, sent.channel] = 1
        gone = np.isfinite(sent.left_at)
        self._open[sent.contact[gone], sent.channel[gone]] = False
        brought = np.flatnonzero(decided.order_value > 0)
        later = np.ceil(self._random.exponential(1800.0, len(brought)))
        self._order(
            decided.contact[brought],
            decided.clicked_at[brought] + 60 + later,
            decided.order_value[brought],
            brought + self._count,
        )

    def _buy_anyway(self, day: int, midnight: Floats) -> None:
        chance = 1 - np.exp(-self._people.orders_a_day)
        contact = np.flatnonzero(self._random.random(len(midnight)) < chance)
        hour = drawn(self._buying[day % 7][self._people.archetype[contact]], self._random)
        within = self._random.integers(0, 3600, len(contact))
        time = (midnight[contact] + hour * HOUR + within).astype(np.float64)
        value = self._nature.order_values(contact, self._random)
        self._order(contact, time, value, np.full(len(contact), -1, dtype=np.int64))

    def _order(self, contact: Ints, time: Floats, value: Floats, decision: Ints) -> None:
        self._orders.append(Orders(contact, time, value, decision))
        self._coming.append((contact, time))

    def _arrive(self, midnight: Floats) -> None:
        """Count the orders that came before each contact's midnight; keep the others."""
        if not self._coming:
            return
        contact, time = (np.concatenate(part) for part in zip(*self._coming, strict=True))
        here = time < midnight[contact]
        np.maximum.at(self._last_order, contact[here], time[here])
        self._coming = [(contact[~here], time[~here])]

    def _kept(self, seconds: Floats | float) -> Floats:
        return np.asarray(0.5 ** (np.asarray(seconds) / (self._settings.half_life * DAY)))


def _buying_hours() -> Floats:
    """Return P(hour | an order comes anyway), shape (7 days, archetypes, 24): at the hours people like."""
    weight = np.exp(hours.tastes().reshape(-1, 7, 24)).swapaxes(0, 1)
    return weight / weight.sum(axis=2, keepdims=True)
