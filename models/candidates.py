"""What the channel models read: contacts × channels, with what went out over each and came back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from models._frame import floats
from models.base import Floats
from nextbest.columns import CHANNEL, CONTACT_FEATURES, CONTACT_ID

DAY = 86_400.0
COUNTS = (
    "sent_7d", "sent_90d", "sent_total", "opened_90d", "opened_total", "clicked_90d", "clicked_total",
)  # fmt: skip
"""Messages over the channel, decayed with that half-life or since ever; 0 where none."""
SINCE = ("days_since_sent", "days_since_response")
"""NaN where there was none."""
KNOWN = (*COUNTS, *SINCE)
BLOCK = tuple(f"channel_{name}" for name in KNOWN)
"""KNOWN as columns of a frame: a contact's own counters over all channels are called sent_7d … there."""


@dataclass(frozen=True)
class Candidates:
    """Contacts as rows, and for each of them a block of numbers a channel."""

    contacts: pd.DataFrame
    """contact_id and CONTACT_FEATURES (missing columns count as NaN); one row a contact."""
    channels: tuple[str, ...]
    blocks: Floats
    """Shape (contacts, channels, KNOWN)."""

    def __len__(self) -> int:
        return len(self.contacts)

    @classmethod
    def from_long(cls, frame: pd.DataFrame, channels: Sequence[str]) -> Self:
        """Read rows of (contact_id, channel, BLOCK, contact features); contacts in order of appearance.

        A contact without a row for a channel was sent nothing over it; one row with an empty or no channel is
        enough for a contact that was never sent anything. Contact features are read from its first row.
        """
        codes, ids = pd.factorize(frame[CONTACT_ID])
        first = np.unique(codes, return_index=True)[1]
        contacts = frame.iloc[first].drop(columns=[CHANNEL, *BLOCK], errors="ignore")
        blocks = np.tile(_nothing(), (len(ids), len(channels), 1))
        if CHANNEL in frame.columns:
            places = {channel: place for place, channel in enumerate(channels)}
            place = frame[CHANNEL].map(places).to_numpy(dtype=np.float64, na_value=np.nan)
            held = np.flatnonzero(np.isfinite(place))
            values = np.column_stack([floats(frame, name) for name in BLOCK])[held]
            values[:, : len(COUNTS)] = np.nan_to_num(values[:, : len(COUNTS)])
            blocks[codes[held], place[held].astype(np.int64)] = values
        return cls(contacts.reset_index(drop=True), tuple(channels), blocks)

    def to_long(self) -> pd.DataFrame:
        """Return a row a contact and channel: what from_long reads."""
        rows = self.contacts.loc[self.contacts.index.repeat(len(self.channels))].reset_index(drop=True)
        rows[CHANNEL] = np.tile(np.array(self.channels, dtype=object), len(self))
        flat = pd.DataFrame(self.blocks.reshape(-1, len(BLOCK)), columns=list(BLOCK))
        return pd.concat([rows, flat], axis=1)

    def take(self, rows: npt.NDArray[Any]) -> "Candidates":
        """Return the given contacts only (positions or a mask)."""
        contacts = self.contacts.iloc[np.flatnonzero(rows) if rows.dtype == np.bool_ else rows]
        return Candidates(contacts.reset_index(drop=True), self.channels, self.blocks[rows])

    def of(self, name: str) -> Floats:
        """Return one of KNOWN, shape (contacts, channels)."""
        return np.asarray(self.blocks[:, :, KNOWN.index(name)])

    def evidence(self) -> tuple[Floats, Floats]:
        """Return (messages, responses) with a half-life of 90 days; a message is answered once at most.

        A click mostly follows an open, so the larger of the two counts is taken for the messages answered.
        """
        sent = self.of("sent_90d")
        return sent, np.minimum(np.maximum(self.of("opened_90d"), self.of("clicked_90d")), sent)


def contact_rows(
    contact_id: str,
    features: Mapping[str, float],
    channels: Mapping[str, Mapping[str, float]],
    now: float,
) -> list[dict[str, Any]]:
    """Return one contact's rows for from_long, from a view's `features` and `channels` (times in epoch s).

    A contact that was never sent anything gets one row without a channel.
    """
    shared = {
        CONTACT_ID: contact_id,
        **{name: features[name] for name in CONTACT_FEATURES if name in features},
    }
    rows = [{**shared, CHANNEL: name, **_block(state, now)} for name, state in channels.items()]
    return rows or [{**shared, CHANNEL: None}]


def _block(state: Mapping[str, float], now: float) -> dict[str, float]:
    counts = {name: float(state.get(name, 0.0)) for name in COUNTS}
    sent, answered = (float(state.get(name, np.nan)) for name in ("last_sent", "last_response"))
    since = {"days_since_sent": (now - sent) / DAY, "days_since_response": (now - answered) / DAY}
    return {f"channel_{name}": value for name, value in {**counts, **since}.items()}


def _nothing() -> Floats:
    return np.array([0.0] * len(COUNTS) + [np.nan] * len(SINCE))
