"""Looks at profiles by the trigger rules: what changed since a contact was last looked at makes events.

Rules see few values, so contacts share few states: a block of profiles is worked out state by state, each
once, and only contacts whose state changed are written.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.events.log import EventLog
from features.events.triggers import LOOKED, SWEPT, Basis, Change, Firing, TriggerLog
from nextbest.columns import CONTACT_ID
from nextbest.errors import BadInput
from serving.trigger_rules import Objects, TriggerRules, Watch

LIVE = 500
"""Contacts with news that are looked at together."""
TRIES = 5
"""How often contacts that somebody else keeps changing are looked at."""

Everyone = Callable[[datetime, Sequence[str]], Iterator[pd.DataFrame]]
"""(now, columns) -> profiles of all contacts, block by block: contact_id and at least these columns."""
Live = Callable[[Sequence[str], datetime], pd.DataFrame]
"""(contact ids, now) -> profiles of these as the log has them this moment."""


@dataclass
class SweepSummary:
    """What a sweep did."""

    contacts: int = 0
    """Looked at."""
    changed: int = 0
    """Whose states were written; at the first sweep everybody's."""
    fired: Counter[str] = field(default_factory=Counter)
    """Rule -> events."""


class TriggerSweep:
    """Evaluates rules over profiles. `endpoints`: the webhooks each event is to be delivered to."""

    def __init__(
        self, rules: TriggerRules, log: TriggerLog, events: EventLog, endpoints: Sequence[str] = ()
    ) -> None:
        self._rules, self._log, self._events, self._endpoints = rules, log, events, tuple(endpoints)

    def everyone(self, profiles: Everyone, now: datetime, counted: int) -> SweepSummary:
        """Look at all contacts but those with news, whom `news` looks at.

        `counted`: position of the log up to which the profiles have counted events. Raises BadInput for a
        moment before that of the last such sweep.
        """
        last = self._log.mark(SWEPT) or 0
        if _micros(now) < last:
            when = datetime.fromtimestamp(last / 1e6, now.tzinfo)
            raise BadInput(
                f"everyone was looked at as of {when.isoformat()} already, and going back to "
                f"{now.isoformat()} would make the same events again; give a later --now"
            )
        began, done = self._log.basis(), SweepSummary()
        basis, apart = Basis(counted, began.erasures), self._with_news(counted)
        for frame in profiles(now, self._rules.columns):
            apart |= self._with_news(began.position)  # who did something meanwhile
            self._look(frame[~frame[CONTACT_ID].isin(apart)], basis, now, done)
        marks = {SWEPT: _micros(now)} | ({LOOKED: counted} if self._log.mark(LOOKED) is None else {})
        self._log.set_marks(**marks)
        return done

    def news(self, live: Live, now: datetime) -> SweepSummary:
        """Look at the contacts of whom the log has something since the last time.

        Nobody is looked at before everyone was, nor as of a moment before that (clocks differ): then later.
        """
        done, since, basis = SweepSummary(), self._log.mark(LOOKED), self._log.basis()
        if since is None or basis.position <= since or _micros(now) < (self._log.mark(SWEPT) or 0):
            return done
        contacts = sorted(self._log.contacts_among(sorted(self._with_news(since))))  # no mere visitors
        for start in range(0, len(contacts), LIVE):
            self._look(live(contacts[start : start + LIVE], now), basis, now, done)
        self._log.set_marks(**{LOOKED: basis.position})
        return done

    def _with_news(self, since: int) -> set[str]:
        """Return who has news after a position, each person by the id that stands for them."""
        found = sorted(self._events.newer(since))
        return {person.contact_id for person in self._events.people(found)} if found else set()

    def _look(self, frame: pd.DataFrame, basis: Basis, now: datetime, done: SweepSummary) -> None:
        """Evaluate, store, and do it again for those that somebody else has changed meanwhile."""
        done.contacts += len(frame)
        frame = frame.reset_index(drop=True)
        seen = [watch.values(frame) for watch in self._rules.watches]
        for _ in range(TRIES):
            ids = frame[CONTACT_ID].astype(str).tolist()
            changes = self._changes(frame, ids, seen)
            stored = self._log.store(changes, basis, now, self._endpoints, self._rules.cooldowns)
            done.changed += stored.changed
            done.fired += stored.fired
            if not stored.again:
                return
            left = np.isin(ids, stored.again)
            frame, seen = frame[left].reset_index(drop=True), [values[left] for values in seen]

    def _changes(self, frame: pd.DataFrame, ids: Sequence[str], seen: Sequence[Objects]) -> list[Change]:
        """Return what changes for whom: each pair of former states and present values is worked out once."""
        held = self._log.states(ids)
        before = np.array([held.get(contact) for contact in ids], object)
        pair, firsts = _alike([before, *seen])
        steps = [_step(before[row], [values[row] for values in seen], self._rules.watches) for row in firsts]
        moved = np.array([step.after != before[row] for step, row in zip(steps, firsts, strict=True)], bool)
        changes = []
        for row in np.flatnonzero(moved[pair]).tolist() if ids else ():
            step = steps[pair[row]]
            firings = tuple(
                Firing(watch.rule.name, was, is_, _facts(frame, watch.columns, row))
                for watch, was, is_ in step.fired
            )
            changes.append(Change(ids[row], before[row], step.after, firings))
        return changes


@dataclass(frozen=True)
class _Step:
    """States as they become, and what fires on the way: (watch, before, after)."""

    after: str
    fired: tuple[tuple[Watch, str, str], ...]


def _step(before: str | None, seen: Sequence[str | None], watches: Sequence[Watch]) -> _Step:
    """Return what becomes of states; a rule that sees a contact for the first time does not fire."""
    held: dict[str, str] = json.loads(before) if before else {}
    after, fired = {}, []
    for watch, value in zip(watches, seen, strict=True):
        name = watch.rule.name
        was = held.get(name)
        is_ = was if value is None else value
        if is_ is None:
            continue
        after[name] = is_
        if was is not None and was != is_ and watch.fires(was, is_):
            fired.append((watch, was, is_))
    return _Step(json.dumps(after, separators=(",", ":"), ensure_ascii=False), tuple(fired))


def _alike(columns: Sequence[Objects]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return for each row the number of its combination of values, and of each combination a row."""
    code = np.zeros(len(columns[0]), np.int64)
    for values in columns:  # made dense at each step, so that the numbers stay small
        codes, names = pd.factorize(values, use_na_sentinel=False)
        code = pd.factorize(code * max(len(names), 1) + codes)[0]
    _, firsts = np.unique(code, return_index=True)
    return code, firsts


def _facts(frame: pd.DataFrame, columns: Sequence[str], row: int) -> dict[str, Any]:
    return {name: _plain(frame[name].iat[row]) for name in columns}


def _plain(value: Any) -> Any:
    """Return a cell as JSON has it: null where it is unknown."""
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _micros(now: datetime) -> int:
    return round(now.timestamp() * 1e6)
