"""Consents, reach and timezone of the contacts: the lake's kept in memory, the log's read on asking."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.events._identity import Person
from nextbest.columns import ANONYMOUS_ID, CHANNELS, CONTACT_ID, UNSUBSCRIBED

log = logging.getLogger("nextbest.book")

Floats = npt.NDArray[np.float64]
EVERY_CHANNEL = ""
"""Stands for an event without a channel: it speaks of all of them."""

Said = Mapping[str, Mapping[str, tuple[float, bool]]]
"""contact -> channel -> (when, whether the last word was no)."""


@dataclass(frozen=True)
class Record:
    """What is recorded of one contact; None: nothing was."""

    consent: Mapping[str, bool | None] = field(default_factory=dict)
    reachable: Mapping[str, bool | None] = field(default_factory=dict)
    timezone: str | None = None


NOTHING = Record()


@dataclass(frozen=True)
class Flags:
    """Records of many contacts; consent and reachable are 1, 0 or NaN, shape (contacts, channels)."""

    consent: Floats
    reachable: Floats
    zones: npt.NDArray[np.object_]
    """None where unknown."""


class ContactBook:
    """Looks up contacts; `refresh` is called by a background thread.

    `contacts()` and `words()` read the lake: CONTACT_COLUMNS, and (contact_id, channel, timestamp, event) of
    all (un)subscriptions. `live_contacts(ids)` and `live_words(ids, owners)` read the same out of the log
    since then: what was said a moment ago counts. An unsubscription withdraws consent until a later
    subscription. `people(ids)` returns the person each is; None: each is somebody else. What a person said
    under an anonymous id counts: `owners` tells whose each is, and words come under the contact's id.
    """

    def __init__(
        self,
        contacts: Callable[[], pd.DataFrame],
        words: Callable[[], pd.DataFrame],
        live_contacts: Callable[[Sequence[str]], pd.DataFrame],
        live_words: Callable[[Sequence[str], Mapping[str, str]], Iterable[Mapping[str, Any]]],
        stamp: Callable[[], object] = lambda: None,
        people: Callable[[Sequence[str]], Sequence[Person]] | None = None,
        log_keeps: Callable[[], bool] = lambda: False,
    ) -> None:
        self._contacts, self._words, self._stamp = contacts, words, stamp
        self._live_contacts, self._live_words, self._people = live_contacts, live_words, people or _alone
        self._log_keeps = log_keeps
        self._visits_said: Said = {}
        self._frame = pd.DataFrame()
        self._said: Said = {}
        self.keeps_consents = False
        """Whether anyone's consent, or an unsubscription, is recorded."""
        self._seen: object = object()
        self.error: str | None = None

    def refresh(self) -> None:
        """Read the lake's contacts if they have changed; keeps what it has if that fails."""
        try:
            stamp = self._stamp()
            if stamp == self._seen:
                return
            columns = [CONTACT_ID, "timezone", *_flags("consent"), *_flags("reachable")]
            frame = self._contacts()[columns].drop_duplicates(CONTACT_ID, keep="last").set_index(CONTACT_ID)
            words = self._words().to_dict("records")
            said = _said(words)
            self._visits_said = _said(_anonymous(words))
            self._frame, self._said, self._seen, self.error = frame, said, stamp, None
            told = bool(said) or bool(frame[_flags("consent")].notna().to_numpy().any())
            self.keeps_consents = told or self._log_keeps()
        except Exception as error:
            log.exception("contacts could not be read; those before stay")
            self.error = str(error) or type(error).__name__

    def of(self, contact_ids: Sequence[str]) -> list[Record]:
        """Return one record a contact. Raises what the log raises: nobody is written to on old consents."""
        self.keeps_consents = self.keeps_consents or self._log_keeps()
        people = self._people(contact_ids)
        visitors = {member: list(person.visitors) for person in people for member in person.members}
        found = self._of(visitors)
        return [_together([found[member] for member in _in_turn(person)]) for person in people]

    @property
    def visitors_who_spoke(self) -> set[str]:
        """Return the anonymous ids that unsubscribed or subscribed without a contact's id, by the lake."""
        return set(self._visits_said)

    def flags(self, contact_ids: Sequence[str], channels: Sequence[str]) -> "Flags":
        """Return the same for many contacts as arrays, of the lake alone, each contact by its own id."""
        places = self._frame.index.get_indexer(pd.Index(list(contact_ids))) if len(self._frame) else None
        known = np.full((2, len(contact_ids), len(channels)), np.nan)
        zones = np.full(len(contact_ids), None, dtype=object)
        if places is not None:
            rows = self._frame.iloc[np.maximum(places, 0)]
            for kind, prefix in enumerate(("consent", "reachable")):
                for place, channel in enumerate(channels):
                    if (name := f"{prefix}_{channel}") in rows.columns:
                        values = rows[name].astype("object").where(rows[name].notna(), np.nan)
                        known[kind, :, place] = values.to_numpy(np.float64)
            known[:, places < 0] = np.nan
            zones = rows["timezone"].to_numpy(dtype=object, copy=True)
            zones[(places < 0) | pd.isna(zones)] = None
        for row, contact_id in enumerate(contact_ids):
            if (words := self._said.get(contact_id)) is not None:
                for channel, (_, refused) in words.items():
                    if refused:
                        known[0, row, [channel in (EVERY_CHANNEL, name) for name in channels]] = 0.0
        return Flags(known[0], known[1], zones)

    def _of(self, visitors: Mapping[str, Sequence[str]]) -> dict[str, Record]:
        """Return the record of each contact, with what was said under its anonymous ids."""
        ids = list(visitors)
        live = self._live_contacts(ids)
        newer = {} if live.empty else live.set_index(CONTACT_ID).to_dict("index")
        said = _said(self._live_words(ids, {visitor: c for c, seen in visitors.items() for visitor in seen}))
        found = {}
        for (contact_id, seen), row in zip(visitors.items(), self._rows(ids), strict=True):
            fresh = {name: value for name, value in newer.get(contact_id, {}).items() if _given(value)}
            words = _latest(self._said.get(contact_id, {}), said.get(contact_id, {}))
            for visitor in seen:  # what was said before the login counts
                words = _latest(words, self._visits_said.get(visitor, {}))
            found[contact_id] = _record({**row, **fresh}, words)
        if any(value is not None for record in found.values() for value in record.consent.values()):
            self.keeps_consents = True
        return found

    def _rows(self, contact_ids: Sequence[str]) -> list[dict[Any, Any]]:
        if self._frame.empty:
            return [{} for _ in contact_ids]
        places = self._frame.index.get_indexer(pd.Index(list(contact_ids)))
        rows = iter(self._frame.iloc[places[places >= 0]].to_dict("records"))
        return [next(rows) if place >= 0 else {} for place in places]


def _flags(prefix: str) -> list[str]:
    return [f"{prefix}_{channel}" for channel in CHANNELS]


def _record(row: Mapping[Any, Any], words: Mapping[str, tuple[float, bool]]) -> Record:
    if not row and not words:
        return NOTHING
    consent = {channel: _flag(row.get(f"consent_{channel}")) for channel in CHANNELS}
    for channel, (_, refused) in words.items():
        for named in CHANNELS if channel == EVERY_CHANNEL else (channel,):
            if refused:
                consent[named] = False
    timezone = row.get("timezone")
    return Record(
        consent,
        {channel: _flag(row.get(f"reachable_{channel}")) for channel in CHANNELS},
        str(timezone) if _given(timezone) else None,
    )


def _alone(contact_ids: Sequence[str]) -> list[Person]:
    return [Person(contact_id, frozenset([contact_id])) for contact_id in contact_ids]


def _in_turn(person: Person) -> list[str]:
    """Return a person's ids, the one that stands for the person first."""
    return [person.contact_id, *sorted(person.members - {person.contact_id})]


def _together(records: Sequence[Record]) -> Record:
    """Return what is recorded of a person under several ids; a refusal under any of them stands."""
    if len(records) == 1:
        return records[0]
    consent: dict[str, bool | None] = {}
    for channel in CHANNELS:
        said = [record.consent.get(channel) for record in records]
        consent[channel] = False if False in said else True if True in said else None
    reach = {
        channel: next((r.reachable[channel] for r in records if r.reachable.get(channel) is not None), None)
        for channel in CHANNELS
    }
    return Record(consent, reach, next((r.timezone for r in records if r.timezone), None))


def _said(rows: Iterable[Mapping[Any, Any]]) -> dict[str, dict[str, tuple[float, bool]]]:
    said: dict[str, dict[str, tuple[float, bool]]] = {}
    for row in rows:
        if not _given(row[CONTACT_ID]):
            continue
        channel = str(row["channel"]) if _given(row["channel"]) else EVERY_CHANNEL
        word = (pd.Timestamp(row["timestamp"]).timestamp(), row["event"] == UNSUBSCRIBED)
        held = said.setdefault(str(row[CONTACT_ID]), {})
        held[channel] = max(held.get(channel, word), word)
    return said


def _anonymous(rows: Iterable[Mapping[Any, Any]]) -> Iterable[dict[Any, Any]]:
    """Return the words of nobody known, under the anonymous id."""
    for row in rows:
        if not _given(row[CONTACT_ID]) and _given(row.get(ANONYMOUS_ID)):
            yield {**row, CONTACT_ID: row[ANONYMOUS_ID]}


def _latest(
    first: Mapping[str, tuple[float, bool]], second: Mapping[str, tuple[float, bool]]
) -> dict[str, tuple[float, bool]]:
    return {
        channel: max(words[channel] for words in (first, second) if channel in words)
        for channel in {**first, **second}
    }


def _given(value: Any) -> bool:
    return value is not None and value is not pd.NA and value == value


def _flag(value: Any) -> bool | None:
    return bool(value) if _given(value) else None
