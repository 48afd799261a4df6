"""The truth of a simulated world: what is allowed, what each decision is worth, which is best.

The truth is of one decision at a time: tiring a contact for later messages has no price in it, losing its
consent has. A message the world forbids (consent, reach, cap, quiet hours) is counted, is not sent, earns 0.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks import _world_hours as hours
from benchmarks import _world_people
from benchmarks._world_events import contact_records, message_events, order_events
from benchmarks._world_history import ID_PREFIX, History
from benchmarks._world_log import Log, Orders, simulate
from benchmarks._world_nature import Expected, Nature, Outcome, State
from benchmarks._world_people import People
from benchmarks._world_settings import DAY, NOTHING, START, WEEK, Settings
from benchmarks._world_usual import Usual
from benchmarks._world_visits import Visits

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Decisions:
    """What a policy wants done, one place a decision; at most one a contact: caps are seen alone."""

    contact: Ints
    channel: Ints
    """Place in the world's channels; NOTHING (-1): send nothing."""
    hour: Ints
    """Local hour of sending, 0 to 23: the first such hour from the moment of deciding on."""


class World:
    """Simulated contacts after some months of messages, with the truth about the next one."""

    def __init__(
        self, settings: Settings, people: People, nature: Nature, log: Log, orders: Orders, seed: int = 7
    ) -> None:
        self.settings, self.people, self.nature, self.log, self.orders = settings, people, nature, log, orders
        self.channels = tuple(c.name for c in settings.channels)
        self.end = START + (settings.days + 1) * DAY
        """The moment to decide at: after the log, everywhere in the world."""
        sent = log.take(log.sent)
        opens = np.array([c.opens for c in settings.channels])
        self.history = History(people, log, orders, opens)
        self.visits = Visits.of(people, settings, np.random.default_rng([seed, 1]))
        self.withdrawn = np.full((settings.contacts, len(self.channels)), np.inf)
        """When each contact withdrew its consent for a channel (epoch seconds), inf: not in the log."""
        gone = np.isfinite(sent.left_at)
        self.withdrawn[sent.contact[gone], sent.channel[gone]] = sent.left_at[gone]
        self._quiet = np.stack([hours.quiet_hours(c) for c in settings.channels])
        self._caps = np.array([c.weekly_cap for c in settings.channels])

    @classmethod
    def simulated(cls, contacts: int = 50_000, days: int = 90, seed: int = 7) -> Self:
        """Draw contacts and live through the days; the same seed gives the same world."""
        return cls.of(Settings(contacts=contacts, days=days), seed)

    @classmethod
    def of(cls, settings: Settings, seed: int = 7) -> Self:
        """Draw a world made otherwise."""
        random = np.random.default_rng(seed)
        people = _world_people.draw(settings, random)
        nature = Nature(people, settings)
        return cls(settings, people, nature, *simulate(people, nature, settings, random), seed)

    # --- what is allowed

    def permitted(self, contact: Ints, at: Floats | float | None = None) -> Bools:
        """Return where consent, reach and the weekly cap allow a message, shape (contact, channels)."""
        now = self._moments(contact, at)
        week = self.history.sent(contact, now, since=WEEK)
        consent = self.people.consent[contact] & (now[:, None] < self.withdrawn[contact])
        return consent & self.people.reach[contact] & (week < self._caps)

    def eligible(
        self, contact: Ints, channel: Ints, at: Floats | float | None = None, hour: Ints | None = None
    ) -> Bools:
        """Tell whether a message may go out: `permitted`, and not in quiet hours. Nothing always may.

        hour: local hour of sending; without one, the hour of `at`.
        """
        now = self._moments(contact, at)
        local = self.local_hour(contact, now) if hour is None else hour
        over = np.maximum(channel, 0)
        rows = np.arange(len(contact))
        allowed = self.permitted(contact, now)[rows, over] & ~self._quiet[over, local]
        return allowed | (channel == NOTHING)

    def forbidden(self, decisions: Decisions, at: Floats | float | None = None) -> Bools:
        """Tell which decisions break consent, reach, cap or quiet hours."""
        return ~self.eligible(decisions.contact, decisions.channel, at, decisions.hour)

    def decided(self, frame: pd.DataFrame) -> Decisions:
        """Read a policy's answer at `end`: contact_id, channel (null: nothing) and send_at (UTC).

        Raises ValueError for an unknown channel, and where a message is not to go within 24 hours from `end`.
        """
        sends = frame["channel"].notna().to_numpy()
        places = {name: place for place, name in enumerate(self.channels)}
        channel = frame["channel"].map(places).fillna(NOTHING).to_numpy().astype(np.int64)
        if (sends & (channel == NOTHING)).any():
            raise ValueError(f"unknown channel; the simulated world has {', '.join(self.channels)}")
        contact = frame["contact_id"].str.removeprefix(ID_PREFIX).to_numpy().astype(np.int64)
        micros = pd.to_datetime(frame["send_at"], utc=True).astype("datetime64[us, UTC]").astype("int64")
        send_at = np.where(sends, micros.to_numpy(np.float64) / 1e6, self.end)
        if ((send_at < self.end) | (send_at >= self.end + DAY)).any():
            raise ValueError("send_at must lie within 24 hours from the world's end")
        return Decisions(contact, channel, self.local_hour(contact, send_at))

    # --- the truth

    def expected(
        self, contact: Ints, channel: Ints, hour: Ints, at: Floats | float | None = None
    ) -> Expected:
        """Return the truth of messages over channels (0 and up) at the first such local hour from `at` on."""
        now = self._moments(contact, at)
        offset = self.people.offset[contact]
        sending = hours.next_at(now, offset, hour)
        weary = self.history.sent(contact, sending, self.settings.half_life)
        recency = (now - self.history.last_order(contact, now)) / DAY
        state = State(weary.sum(axis=1), weary[np.arange(len(contact)), channel], recency)
        return self.nature.expected(contact, channel, hours.week_hour(sending, offset), state)

    def value_of(self, decisions: Decisions, at: Floats | float | None = None) -> Floats:
        """Return the expected net value of each decision: 0 for nothing, and for what is forbidden."""
        return self._of_sent(decisions, at, "net")

    def responses_of(self, decisions: Decisions, at: Floats | float | None = None) -> Floats:
        """Return the chance of an answer to each decision: 0 for nothing, and for what is forbidden."""
        return self._of_sent(decisions, at, "response")

    def conversions_of(self, decisions: Decisions, at: Floats | float | None = None) -> Floats:
        """Return each decision's chance of an order there would not have been without it."""
        return self._of_sent(decisions, at, "conversion")

    def oracle(
        self, contact: Ints | None = None, at: Floats | float | None = None, hour: Ints | None = None
    ) -> Decisions:
        """Return the allowed decision of highest true value, nothing where none is above 0.

        hour: shape (channels,), the only hour at which each channel may be used; without it, any.
        """
        return self._best(contact, at, "net", hour)

    def usual(self, contact: Ints, at: Floats | float | None = None, seed: int = 7) -> Decisions:
        """Return what the business-as-usual policy would draw."""
        random, policy = np.random.default_rng(seed), Usual(self.people, self.settings)
        channel, _ = policy.channels(contact, self.permitted(contact, at), random)
        hour, _ = policy.hours(np.maximum(channel, 0), random)
        return Decisions(contact, channel, hour)

    def oracle_of_responses(self, contact: Ints | None = None, at: Floats | float | None = None) -> Decisions:
        """Return the allowed decision likeliest to be answered, whatever it costs."""
        return self._best(contact, at, "response")

    def regret(self, decisions: Decisions, at: Floats | float | None = None) -> Floats:
        """Return what each decision earns less than the oracle's for the same contact, 0 and up."""
        return self.value_of(self.oracle(decisions.contact, at), at) - self.value_of(decisions, at)

    def draw(
        self, decisions: Decisions, seed: int, at: Floats | float | None = None
    ) -> tuple[Outcome, Floats]:
        """Simulate messages (allowed ones only); return what came of each, and its net value."""
        contact, channel = decisions.contact, decisions.channel
        expected = self.expected(contact, channel, decisions.hour, at)
        outcome = self.nature.draw(contact, channel, expected, np.random.default_rng(seed))
        cost = np.array([c.cost for c in self.settings.channels])[channel]
        earned = outcome.order_value * self.settings.margin - cost - outcome.left * self.settings.loss
        return outcome, earned

    def contacts(self, at: float | None = None) -> pd.DataFrame:
        """Return a canonical row a contact as recorded at a moment: zone, consents, reach."""
        moment = self.end if at is None else at
        return contact_records(self.people, self.settings.channels, self.withdrawn, moment)

    def message_events(self) -> pd.DataFrame:
        """Return the canonical message events before `end`."""
        return message_events(self.log, self.settings.channels, self.end)

    def order_events(self) -> pd.DataFrame:
        """Return the canonical orders before `end`; those before the log are in `features` alone."""
        return order_events(self.orders, self.end)

    def features(self, contact: Ints, at: Floats | float | None = None) -> pd.DataFrame:
        """Return contact_id and contact features as known at moments, one row a place."""
        return self.history.features(contact, self._moments(contact, at))

    def table(self, contact: Ints, at: Floats | float | None = None) -> tuple[Expected, Ints]:
        """Return the truth of every channel at every hour, arrays (contact, channels, 24), and the hours.

        The same as `expected`, for all at once; nothing forbidden is left out.
        """
        now = self._moments(contact, at)
        offset, count = self.people.offset[contact], len(self.channels)
        hour = np.arange(24)[None, :]
        sending = hours.next_at(now[:, None], offset[:, None], hour)
        weary = self.history.sent(contact, now, self.settings.half_life)
        kept = 0.5 ** ((sending - now[:, None]) / (self.settings.half_life * DAY))
        state = State(
            weary.sum(axis=1)[:, None, None] * kept[:, None, :],
            weary[:, :, None] * kept[:, None, :],
            ((now - self.history.last_order(contact, now)) / DAY)[:, None, None],
        )
        week_hour = hours.week_hour(sending, offset[:, None])[:, None, :]
        places = np.arange(count)[None, :, None]
        return self.nature.expected(contact[:, None, None], places, week_hour, state), hour[0]

    def local_hour(self, contact: Ints, at: Floats | float) -> Ints:
        """Return the local hour, 0 to 23, of each contact at moments (epoch seconds)."""
        return hours.week_hour(self._moments(contact, at), self.people.offset[contact]) % 24

    def _best(
        self, contact: Ints | None, at: Floats | float | None, what: str, hour: Ints | None = None
    ) -> Decisions:
        everyone = np.arange(self.settings.contacts) if contact is None else contact
        now = self._moments(everyone, at)
        closed = self._quiet if hour is None else self._quiet | (np.arange(24) != hour[:, None])
        parts = [
            self._best_of(everyone[rows], now[rows], what, closed)
            for rows in np.array_split(np.arange(len(everyone)), len(everyone) // 10_000 + 1)
        ]
        channel, sending = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Decisions(everyone, channel, sending)

    def _best_of(self, contact: Ints, at: Floats, what: str, closed: Bools) -> tuple[Ints, Ints]:
        truth, _ = self.table(contact, at)
        allowed = self.permitted(contact, at)[:, :, None] & ~closed[None]
        worth = np.where(allowed, getattr(truth, what), -np.inf).reshape(len(contact), -1)
        best = worth.argmax(axis=1)
        sends = worth[np.arange(len(contact)), best] > 0
        return np.where(sends, best // 24, NOTHING), best % 24

    def _of_sent(self, decisions: Decisions, at: Floats | float | None, what: str) -> Floats:
        out = np.zeros(len(decisions.contact))
        now = self._moments(decisions.contact, at)
        rows = np.flatnonzero((decisions.channel != NOTHING) & ~self.forbidden(decisions, now))
        truth = self.expected(
            decisions.contact[rows], decisions.channel[rows], decisions.hour[rows], now[rows]
        )
        out[rows] = getattr(truth, what)
        return out

    def _moments(self, contact: Ints, at: Floats | float | None) -> Floats:
        """Return a moment for each contact; without one, `end`."""
        return np.broadcast_to(np.asarray(self.end if at is None else at, dtype=np.float64), len(contact))
