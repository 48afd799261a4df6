"""From message events to a log the channel model learns from: what was known just before each message."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.decay import DAY, factor
from models.candidates import COUNTS, KNOWN, Candidates
from models.local_time import week_hours
from models.messages import ChannelLog
from nextbest.columns import CHANNEL, CONTACT_ID, HALF_LIVES, MESSAGE_SENT, TIMESTAMP
from training._message_context import earned_after, left_after, seen_before, zones_of

Floats = npt.NDArray[np.float64]
COUNTERS = {MESSAGE_SENT: "sent", "message_opened": "opened", "message_clicked": "clicked"}
CONTACT_COUNTERS = {MESSAGE_SENT: "sent", "message_opened": "opens", "message_clicked": "clicks"}
RESPONSES = ("message_opened", "message_clicked")
RESPONSE_DAYS = 7.0
"""A response counts if it comes within this many days of the message."""
Features = Callable[[pd.DataFrame], pd.DataFrame]
"""Takes contact_id and timestamp; returns CONTACT_FEATURES as known at each timestamp, same rows."""


@dataclass
class _Channel:
    """The counts of one contact over one channel, valued at `at`."""

    counts: Floats = field(default_factory=lambda: np.zeros(len(COUNTS)))
    at: float = 0.0
    sent: float = np.nan
    answered: float = np.nan

    def block(self, now: float) -> Floats:
        """Return KNOWN at a moment."""
        age = now - self.at
        days = [(now - self.sent) / DAY, (now - self.answered) / DAY]
        return np.concatenate([self.counts * _kept(age), days])

    def add(self, event: str, now: float) -> None:
        """Count an event."""
        self.counts = self.counts * _kept(now - self.at) + _ADDS[event]
        self.at = now
        if event == MESSAGE_SENT:
            self.sent = now
        else:
            self.answered = now


_SPANS = [name.rpartition("_")[2] for name in COUNTS]
_ADDS = {
    event: np.array([float(name.startswith(f"{counter}_")) for name in COUNTS])
    for event, counter in COUNTERS.items()
}


def _kept(age: float) -> Floats:
    kept = {"7d": factor(age, 7), "90d": factor(age, 90), "total": 1.0}
    return np.array([kept[span] for span in _SPANS])


@dataclass(frozen=True)
class MessageLog:
    """The log, when each message went out (epoch seconds), and what was left out of it."""

    log: ChannelLog
    sent_at: Floats
    unanswerable: int
    """Messages sent too late for their responses to be known: not in the log."""


@dataclass(frozen=True)
class Around:
    """What else happened to the contacts of a log, and what is recorded of them."""

    events: pd.DataFrame
    """contact_id, event, timestamp, channel, price, quantity: their steps, orders and unsubscriptions."""
    contacts: pd.DataFrame
    """CONTACT_COLUMNS; their time zones are read."""
    margin: float
    """Share of revenue that is profit."""
    earns: bool
    """Whether orders may be put down to messages; not to simulated ones."""


def message_log(
    events: pd.DataFrame,
    channels: Sequence[str],
    until: float,
    features: Features,
    most: int,
    around: Callable[[Sequence[str]], Around] | None = None,
) -> MessageLog:
    """Build the log from canonical message events in order of time, taking the latest `most` messages.

    `around` is asked for the contacts of those; without it the log tells nothing of hours, leaving and money.
    A response is an open or a click of the same message_id within RESPONSE_DAYS. The state before a message
    counts what happened strictly before it. Contact features are taken a microsecond before it.
    """
    frame = _message_events(events, channels)
    sent = frame[(frame["event"] == MESSAGE_SENT)]
    known = sent["seconds"] <= until - RESPONSE_DAYS * DAY
    chosen = sent[known].tail(most)
    blocks = _blocks(frame, chosen.index, channels)
    spine = chosen[[CONTACT_ID, TIMESTAMP]].reset_index(drop=True)
    before = spine.assign(**{TIMESTAMP: spine[TIMESTAMP] - pd.Timedelta(microseconds=1)})
    contacts = features(before).drop(columns=[TIMESTAMP], errors="ignore").reset_index(drop=True)
    contacts[CONTACT_ID] = spine[CONTACT_ID]
    answered = _answered(frame, chosen)
    log = ChannelLog(
        Candidates(contacts, tuple(channels), blocks),
        chosen["place"].to_numpy(np.int64),
        np.isfinite(answered).astype(np.float64),
        np.array([_propensity(text) for text in chosen["properties"]]),
    )
    if around is not None:
        ids = chosen[CONTACT_ID].astype(str)
        log = _with_context(log, chosen, answered, around(ids.unique().tolist()), until)
    return MessageLog(log, chosen["seconds"].to_numpy(np.float64), int((~known).sum()))


def _with_context(
    log: ChannelLog, chosen: pd.DataFrame, answered: Floats, around: Around, until: float
) -> ChannelLog:
    """Add when messages were sent in local time, who had been there when, who left, and what was earned."""
    sent = chosen[[CONTACT_ID, "seconds"]].reset_index(drop=True)
    sent[CONTACT_ID], sent[CHANNEL] = sent[CONTACT_ID].astype(str), log.names()
    events = around.events.assign(seconds=_seconds(around.events))
    zones = zones_of(sent[CONTACT_ID].tolist(), around.contacts)
    earned = earned_after(sent, answered, events, RESPONSE_DAYS, until, around.margin)
    return replace(
        log,
        hours=week_hours(sent["seconds"].to_numpy(np.float64), zones),
        seen=seen_before(sent, events, zones),
        left=left_after(sent, events, RESPONSE_DAYS),
        earned=earned if around.earns else None,
    )


def _message_events(events: pd.DataFrame, channels: Sequence[str]) -> pd.DataFrame:
    places = {channel: place for place, channel in enumerate(channels)}
    place = events[CHANNEL].map(places)
    kept = events["event"].isin(list(COUNTERS)) & place.notna() & events[CONTACT_ID].notna()
    frame = events.loc[kept, ["event", CONTACT_ID, TIMESTAMP, "message_id", "properties"]]
    micros = frame[TIMESTAMP].astype("datetime64[us, UTC]").astype("int64").to_numpy(np.float64)
    frame = frame.assign(place=place[kept].astype(np.int64), seconds=micros / 1e6)
    return frame.sort_values("seconds", kind="stable", ignore_index=True)


def _blocks(frame: pd.DataFrame, chosen: "pd.Index[int]", channels: Sequence[str]) -> Floats:
    """Return what was known before each chosen message, shape (messages, channels, KNOWN)."""
    rows = {int(row): position for position, row in enumerate(chosen)}
    blank = np.concatenate([np.zeros(len(COUNTS)), [np.nan, np.nan]])
    out = np.tile(blank, (len(rows), len(channels), 1))
    states: dict[tuple[str, int], _Channel] = {}
    moments: list[tuple[tuple[str, int], str, float]] = []
    columns = (frame[CONTACT_ID].astype(str), frame["place"], frame["event"], frame["seconds"])
    for row, (contact, place, event, seconds) in enumerate(zip(*columns, strict=True)):
        if moments and moments[0][2] < seconds:
            _settle(moments, states)
        if (position := rows.get(row)) is not None:
            for other in range(len(channels)):
                if (state := states.get((contact, other))) is not None:
                    out[position, other] = state.block(seconds)
        moments.append(((contact, int(place)), event, seconds))
    return out


def _settle(
    moments: list[tuple[tuple[str, int], str, float]], states: dict[tuple[str, int], _Channel]
) -> None:
    """Count events whose moment has passed; those of one moment do not see each other."""
    for key, event, seconds in moments:
        states.setdefault(key, _Channel(at=seconds)).add(event, seconds)
    moments.clear()


def _answered(frame: pd.DataFrame, chosen: pd.DataFrame) -> Floats:
    """Return when each message was first opened or clicked (epoch seconds), NaN: not in time."""
    answers = frame[frame["event"].isin(RESPONSES) & frame["message_id"].notna()]
    first = answers.groupby([CONTACT_ID, "message_id"])["seconds"].min().rename("answered")
    joined = chosen.join(first, on=[CONTACT_ID, "message_id"])
    waited = joined["answered"] - joined["seconds"]
    in_time = (waited >= 0) & (waited <= RESPONSE_DAYS * DAY)
    return joined["answered"].where(in_time).to_numpy(np.float64)


def _propensity(text: Any) -> float:
    """Read {"propensity": p} of an event's properties; NaN where it is absent or no probability."""
    try:
        p = float(json.loads(text)["propensity"])
    except (TypeError, ValueError, KeyError):
        return np.nan
    return p if 0 < p <= 1 else np.nan


def contact_counters(events: pd.DataFrame, spine: pd.DataFrame) -> pd.DataFrame:
    """Return a contact's message counters (sent_7d … clicks_total, the two rates) at each spine moment.

    For a log that is not in the feature tables. Rows are the spine's (contact_id, timestamp).
    """
    seconds = _seconds(spine)
    out = {}
    for event, counter in CONTACT_COUNTERS.items():
        times = {
            str(contact): _seconds(rows)
            for contact, rows in events[events["event"] == event].groupby(CONTACT_ID)
        }
        counts = np.zeros((len(spine), len(HALF_LIVES) + 1))
        for row, (contact, now) in enumerate(zip(spine[CONTACT_ID].astype(str), seconds, strict=True)):
            age = now - times.get(contact, np.empty(0))
            age = age[age >= 0]
            counts[row] = [
                *(float(factor(age, half_life).sum()) for half_life in HALF_LIVES),
                float(len(age)),
            ]
        for place, span in enumerate([*(f"{half_life}d" for half_life in HALF_LIVES), "total"]):
            out[f"{counter}_{span}"] = counts[:, place]
    with np.errstate(invalid="ignore", divide="ignore"):
        out["open_rate_90d"] = np.where(out["sent_90d"] > 0, out["opens_90d"] / out["sent_90d"], np.nan)
        out["click_rate_90d"] = np.where(out["sent_90d"] > 0, out["clicks_90d"] / out["sent_90d"], np.nan)
    return pd.DataFrame(out, index=spine.index)


def _seconds(frame: pd.DataFrame) -> Floats:
    return frame[TIMESTAMP].astype("datetime64[us, UTC]").astype("int64").to_numpy(np.float64) / 1e6


assert KNOWN[: len(COUNTS)] == COUNTS  # noqa: S101 — a block begins with the counts
