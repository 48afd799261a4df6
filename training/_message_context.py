"""What came before and after each message: when the contact was there, leaving, money of orders after."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.timeline import Timeline, codes
from models._best_time import HOURS
from models.local_time import week_hours
from nextbest.columns import (
    CHANNEL,
    CONTACT_ID,
    DONE_TO_THEM,
    EVENT,
    ORDER_COMPLETED,
    PURCHASES,
    STEPS,
    TIMESTAMP,
    UNSUBSCRIBED,
)
from training.attribution import AMOUNT, KEY, attribute

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
EVERY_CHANNEL = "*"


def zones_of(contact_ids: Sequence[str], contacts: pd.DataFrame) -> npt.NDArray[np.object_]:
    """Return each contact's time zone, None where none is recorded."""
    known = contacts.drop_duplicates(CONTACT_ID, keep="last").set_index(CONTACT_ID)["timezone"]
    found = known.reindex(list(contact_ids)).to_numpy(dtype=object)
    return np.array([zone if isinstance(zone, str) else None for zone in found], dtype=object)


def seen_before(
    sent: pd.DataFrame, steps: pd.DataFrame, zones: npt.NDArray[np.object_]
) -> npt.NDArray[np.float32]:
    """Return when each message's contact had been there, of the last STEPS steps, shape (messages, HOURS).

    sent, steps: contact_id, `seconds` (and `event`, of steps); zones: one a message.
    """
    out = np.zeros((len(sent), HOURS), dtype=np.float32)
    steps = steps[~steps[EVENT].isin(PURCHASES)].sort_values([CONTACT_ID, "seconds"], kind="stable")
    contact, owner = codes(sent[CONTACT_ID].astype(str), steps[CONTACT_ID].astype(str))
    zone_of_contact = np.full(contact.max(initial=-1) + 1, None, dtype=object)
    zone_of_contact[contact] = zones
    held = owner < len(zone_of_contact)
    steps, owner = steps[held], owner[held]
    order = np.argsort(owner, kind="stable")
    owner, seconds = owner[order], steps["seconds"].to_numpy(np.float64)[order]
    there = ~steps[EVENT].isin(DONE_TO_THEM).to_numpy()[order]
    hours = week_hours(seconds, zone_of_contact[owner])
    first = np.searchsorted(owner, contact)
    until = Timeline(owner, seconds).place(contact, sent["seconds"].to_numpy(np.float64), "left")
    for back in range(1, STEPS + 1):
        place = until - back
        rows = np.flatnonzero(place >= first)
        rows = rows[there[place[rows]]]
        out[rows, hours[place[rows]]] += 1
    return out


def left_after(sent: pd.DataFrame, events: pd.DataFrame, days: float) -> Floats:
    """Return 1 for the last message over the channel, or over any, before each unsubscription within `days`.

    sent: contact_id, channel, `seconds`; events: with `event` too. An unsubscription without a channel is
    put down to the last message over any.
    """
    left = np.zeros(len(sent))
    gone = events[events[EVENT] == UNSUBSCRIBED]
    if gone.empty or not len(sent):
        return left
    rows = sent[[CONTACT_ID, CHANNEL, "seconds"]].assign(row=np.arange(len(sent)))
    both = pd.concat([rows, rows.assign(**{CHANNEL: EVERY_CHANNEL})]).sort_values("seconds", kind="stable")
    asked = gone[[CONTACT_ID, CHANNEL, "seconds"]].fillna({CHANNEL: EVERY_CHANNEL})
    for frame in (both, asked):
        frame[CHANNEL] = frame[CHANNEL].astype(str)
        frame[CONTACT_ID] = frame[CONTACT_ID].astype(str)
    found = pd.merge_asof(
        asked.sort_values("seconds", kind="stable"), both, on="seconds", by=[CONTACT_ID, CHANNEL],
        tolerance=days * 86_400.0,  # type: ignore[arg-type]  # the key is in seconds, as a float
    )  # fmt: skip
    left[found["row"].dropna().astype(int).to_numpy()] = 1.0
    return left


def earned_after(
    sent: pd.DataFrame, answered: Floats, orders: pd.DataFrame, days: float, until: float, margin: float
) -> Floats:
    """Return the profit of the orders each answered message is credited with; NaN while its window is open.

    sent: contact_id, `seconds`; answered: when each was (epoch seconds), NaN: not in time. An order is
    credited to the last answer within `days` before it.
    """
    earned = np.zeros(len(sent))
    rows = np.flatnonzero(np.isfinite(answered))
    bought = orders[orders[EVENT] == ORDER_COMPLETED]
    if len(rows) and len(bought):
        moments = pd.to_datetime((answered[rows] * 1e6).astype(np.int64), unit="us", utc=True)
        touches = pd.DataFrame(
            {CONTACT_ID: sent[CONTACT_ID].to_numpy()[rows], TIMESTAMP: moments, KEY: "all"}
        )
        amounts = bought["price"].fillna(0.0) * bought["quantity"].fillna(1.0)
        conversions = bought[[CONTACT_ID, TIMESTAMP]].assign(**{AMOUNT: amounts})
        credits = attribute(touches, conversions, days, "last_touch").touches
        assert credits is not None  # noqa: S101 - last touch credits touches
        earned[rows] = credits["revenue"].to_numpy() * margin
    earned[np.where(np.isfinite(answered), answered, sent["seconds"]) > until - days * 86_400.0] = np.nan
    return earned
