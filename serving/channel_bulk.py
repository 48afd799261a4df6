"""Best channels in bulk: what the service would answer each contact, a block of contacts at a time.

Contacts of whom the event log knows nothing newer than the last build are decided from its tables, as arrays;
the others as the service decides them, one by one. A test holds both to the same answers.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from features.events.lake import Lake
from features.events.log import EventLog
from features.everyone import Everyone, everyone
from features.live import LiveContacts
from models.candidates import BLOCK, COUNTS, DAY, KNOWN, Candidates
from models.decision import NOTHING, Chosen
from models.permission import WEEK, permitted, sent_in_a_week
from nextbest.columns import CONTACT_FEATURES, CONTACT_ID, MESSAGE_SENT
from nextbest.settings import Settings
from serving._built import LIVE_SIZE, counted_until, live_views
from serving._channel_rank import RankedChannels, Terms, seen_of
from serving.budget import Budget, Skipped
from serving.champions import Champions
from serving.decisions import new_id
from serving.engine import book_of
from serving.parts import Parts
from serving.people import People
from serving.reach import ChannelLadder, choose, left_out, ranked_by, sources, unknown_consent, usable
from serving.schemas import BestChannelRequest, ChannelDecision
from serving.shelf import Shelf

BLOCK_SIZE = 20_000
"""Contacts decided at a time."""
_TEXT, _NUMBER, _TIME = pa.string(), pa.float64(), pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    {"contact_id": _TEXT, "channel": _TEXT, "probability": _NUMBER, "expected_value": _NUMBER,
     "send_at": _TIME, "source": _TEXT, "propensity": _NUMBER, "held_out": pa.bool_()}
)  # fmt: skip
INTENDED = "intended_channel"
DECIDED = SCHEMA.append(pa.field(INTENDED, _TEXT))
"""SCHEMA, and the channel that the held out would have got."""
Mask = npt.NDArray[np.bool_]


class ChannelBulk:
    """The parts of the service that channels need, and nothing else: it starts quickly and stays small."""

    def __init__(self, settings: Settings, now: datetime) -> None:
        self._settings, self.now = settings, now
        self._log = EventLog(settings.event_log_url)
        self.begun = self._log.position()
        lake = Lake(settings.lake)
        if self._log.has_news(lake):
            self._log.compact(lake)  # consents and links are read from the lake
        self._champions = Champions(settings, tasks=("channel",))
        self._champions.refresh()
        self._book = book_of(settings, self._log)
        self._book.refresh()
        self._noted: list[Mapping[str, Any]] = []
        self._live = LiveContacts.open(settings, self._log)
        parts = Parts(
            settings, People(self._live), Shelf(lambda _: None), self._champions, Budget(), self._book,
            self._noted.append,
        )  # fmt: skip
        self._ladder = ChannelLadder(parts)
        self._parts = parts

    @property
    def version(self) -> str | None:
        """Return the model that decides; None: the contacts' own rates."""
        try:
            return usable(self._parts).version
        except Skipped:
            return None

    def close(self) -> None:
        """Let the log go."""
        self._champions.close()
        self._parts.budget.close()
        self._log.close()

    def newer(self, position: int) -> set[str]:
        """Return the contacts of whom the log has something after a position."""
        return self._log.newer(position)

    def blocks(self, contact_ids: Sequence[str]) -> Iterator[tuple[list[str], bool]]:
        """Yield blocks of contacts, and whether each is decided from the tables; together everyone asked.

        Whoever does something while it goes on comes among the last, who are decided from the log as well.
        """
        links, spoke = self._log.links(), self._book.visitors_who_spoke
        several = {id_ for link in links if link.alias for id_ in (link.anonymous_id, link.contact_id)}
        several |= {link.contact_id for link in links if link.anonymous_id in spoke}
        apart = self._log.newer(counted_until(self._settings)) | several
        same = sorted(c for c in contact_ids if c not in apart)
        known = set(same)
        rest = [contact for contact in contact_ids if contact not in known]
        for start in range(0, len(same), BLOCK_SIZE):
            block, news = same[start : start + BLOCK_SIZE], self.newer(self.begun)
            rest += [contact for contact in block if contact in news]
            if unchanged := [contact for contact in block if contact not in news]:
                yield unchanged, True
        for start in range(0, len(rest), LIVE_SIZE):
            yield rest[start : start + LIVE_SIZE], False

    def decide(self, contact_ids: list[str], from_tables: bool, asked: BestChannelRequest) -> pa.Table:
        """Return DECIDED for a block of contacts."""
        if not from_tables:
            request = asked.model_copy(update={"contact_ids": contact_ids})
            self._noted.clear()
            live_views(self._settings, self._live, contact_ids, self.now.timestamp())  # held in memory then
            decisions = self._ladder.answer(request, self.now).contacts
            rows = [
                {**_row(one), INTENDED: noted[INTENDED]}
                for one, noted in zip(decisions, self._noted, strict=True)
            ]
            return pa.Table.from_pylist(rows, schema=DECIDED)
        (block,) = everyone(self._settings, contact_ids, self.now.timestamp(), len(contact_ids))
        return self._from_tables(block, asked)

    def record(self, decided: pa.Table, asked: BestChannelRequest) -> None:
        """Write a block's decisions into the decision log, for the campaign's report."""
        rows, version = decided.to_pylist(), self.version
        self._log.record_decisions(
            {
                "decision_id": new_id(), "timestamp": self.now, "kind": "best_channel",
                "contact_id": row["contact_id"], "campaign_id": asked.campaign_id, "source": row["source"],
                "model_version": version, "held_out": row["held_out"], INTENDED: row[INTENDED],
                "shown": [[row["channel"], row["propensity"], row["source"]]],
            }
            for row in rows
        )  # fmt: skip

    def _from_tables(self, block: Everyone, asked: BestChannelRequest) -> pa.Table:
        settings, now = self._settings, self.now.timestamp()
        flags = self._book.flags(block.contact_ids, tuple(asked.channels or settings.channels))
        terms = Terms.of(asked, settings, flags.zones, self.now)
        candidates = candidates_of(block, terms.channels, now)
        seen = seen_of(block.step_owner, block.step_names, block.step_times, terms)
        ranked, version, _ = ranked_by(self._parts, candidates, seen, terms, lambda _, work: work())
        allowed = permitted(
            terms.each, flags.consent, flags.reachable, candidates.of("sent_7d"),
            candidates.of("days_since_sent"), _sent_any(block, now),
            unknown_consent(settings, self._book), settings.unknown_reach,
        )  # fmt: skip
        chosen = choose(ranked, allowed & np.isfinite(ranked.send_at), asked.explore, self._parts.random())
        out = left_out(block.contact_ids, asked, settings)
        named = sources(ranked, chosen, version is not None)
        return _table(block.contact_ids, ranked, chosen, named, out, terms.channels)


def candidates_of(block: Everyone, channels: tuple[str, ...], now: float) -> Candidates:
    """Return the contacts as the channel models read them."""
    contacts = pd.DataFrame({name: block.features[name] for name in CONTACT_FEATURES})
    contacts.insert(0, CONTACT_ID, block.contact_ids)
    blocks = np.zeros((len(block.contact_ids), len(channels), len(BLOCK)))
    blocks[:, :, len(COUNTS) :] = np.nan
    places = {channel: place for place, channel in enumerate(channels)}
    place = np.array([places.get(name, -1) for name in block.channel_names], dtype=np.int64)
    held = place >= 0
    rows = (block.channel_owner[held], place[held])
    for column, name in enumerate(KNOWN):
        if name in COUNTS:
            values = block.channels[name][held]
        else:
            last = block.channels["last_sent" if name == "days_since_sent" else "last_response"][held]
            values = (now - last) / DAY
        blocks[(*rows, column)] = values
    return Candidates(contacts, channels, blocks)


def _sent_any(block: Everyone, now: float) -> npt.NDArray[np.float64]:
    """Return models.permission.sent_in_a_week of each contact."""
    sent = block.step_names == MESSAGE_SENT
    owner, age = block.step_owner[sent], (now - block.step_times[sent]) / DAY
    count = len(block.contact_ids)
    recent = np.bincount(owner[age < WEEK], minlength=count).astype(np.float64)
    weights = np.bincount(owner, 2 ** (-age / WEEK), minlength=count).astype(np.float64)
    return sent_in_a_week(recent, weights, block.features["sent_7d"])


def _table(
    contact_ids: list[str],
    ranked: RankedChannels,
    chosen: Chosen,
    named: npt.NDArray[np.object_],
    out: Mask,
    channels: tuple[str, ...],
) -> pa.Table:
    rows, some = np.arange(len(out)), chosen.place != NOTHING
    over, sends = np.maximum(chosen.place, 0), some & ~out
    over_name = np.array(channels, dtype=object)[over]
    micros = np.where(sends, np.nan_to_num(ranked.send_at[rows, over]) * 1e6, 0).astype(np.int64)

    def where_sent(values: Any) -> pa.Array:
        return pa.array(values, mask=~sends)

    return pa.table(
        {
            "contact_id": pa.array(contact_ids, _TEXT),
            "channel": pa.array(over_name, _TEXT, mask=~sends),
            "probability": where_sent(ranked.weighed.probability[rows, over]),
            "expected_value": where_sent(ranked.weighed.worth[rows, over]),
            "send_at": pa.array(micros, pa.int64(), mask=~sends).cast(_TIME),
            "source": pa.array(named, _TEXT),
            "propensity": pa.array(chosen.propensity),
            "held_out": pa.array(out),
            INTENDED: pa.array(over_name, _TEXT, mask=~some),
        },
        schema=DECIDED,
    )


def _row(decision: ChannelDecision) -> dict[str, Any]:
    taken = next((c for c in decision.channels if c.channel == decision.best), None)
    return {
        "contact_id": decision.contact_id, "channel": decision.best,
        "probability": taken.probability if taken else None,
        "expected_value": taken.expected_value if taken else None,
        "send_at": decision.send_at, "source": decision.source, "propensity": decision.propensity,
        "held_out": decision.held_out,
    }  # fmt: skip
