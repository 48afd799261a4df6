"""One source on its way into the lake: validated, counted, given up where hardly a row is good."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

import pandas as pd

from features.events.importers.base import Batch, Chunk
from features.events.lake import Lake
from features.events.rejects import Rejects
from features.events.schema import (
    KNOWN_EVENTS,
    REASON,
    validate_contacts,
    validate_events,
    validate_identities,
    validate_items,
)
from nextbest.columns import EVENT, TIMESTAMP
from nextbest.errors import BadInput
from nextbest.progress import Progress

WEEK = timedelta(weeks=1)
_HOPELESS = 0.99
"""Above this share of rejects something is wrong with the mapping, not with the rows."""
_VALIDATE = {"items": validate_items, "contacts": validate_contacts, "identities": validate_identities}


class Intake:
    """Validates what a batch yields and counts on the way."""

    def __init__(self, batch: Batch, lake: Lake, now: datetime, rejects: Rejects, progress: Progress) -> None:
        self.rows = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.unknown: Counter[str] = Counter()
        self.before = lake.manifest().get(batch.source, {})
        """What was noted when the source came before."""
        self._batch, self._lake, self._now, self._rejects, self._progress = (
            batch,
            lake,
            now,
            rejects,
            progress,
        )

    def weeks(self, wanted: bool) -> int:
        """Return the weeks to move by: what was done before, else what brings the last event up to now."""
        if self._batch.events is None:
            return 0
        if "shift_weeks" in self.before:
            return int(self.before["shift_weeks"])
        return (self._now - self._batch.last) // WEEK if wanted and self._batch.last else 0

    def notes(self, weeks: int, wanted: bool, mapping: Mapping[str, str] | None) -> list[str]:
        """Return what to tell of the shift, and of a mapping that came too late."""
        notes = [f"all times moved by {weeks} weeks"] if weeks else []
        if wanted and not weeks:
            notes.append("not moved: the last event is this week's, or it was taken in unmoved before")
        if self.before and self.before.get("mapping") != _plain(mapping):
            notes.append("taken in before with another --map: the rows stored then stay as they are")
        return notes

    def frames(self, weeks: int, mapping: Mapping[str, str] | None = None) -> Iterator[pd.DataFrame]:
        """Yield validated frames; raises BadInput at the end when hardly a row was good."""
        if self._batch.events is None:
            return
        for chunk in self._batch.events(weeks * WEEK):
            good = self._sorted_out(chunk)
            self._count(good, len(chunk.events))
            yield good
        self._give_up_if_hopeless()
        self._lake.note(self._batch.source, shift_weeks=weeks, rows=self.rows, mapping=_plain(mapping))

    def table(self, name: str) -> int:
        """Validate and store the batch's items, contacts or identities; returns the rows stored."""
        frame = self._batch.tables.get(name)
        if frame is None or frame.empty:
            return 0
        good, bad = _VALIDATE[name](frame)
        if self._batch.events is None:
            self.rows += len(frame)
        self._rejects.add(bad)
        self._give_up_if_hopeless()
        return int(getattr(self._lake, f"write_{name}")(good))

    def _sorted_out(self, chunk: Chunk) -> pd.DataFrame:
        events, source = chunk.events, chunk.rows or chunk.events.loc.__getitem__
        if chunk.reasons is not None and (chunk.reasons != "").any():
            unread = chunk.reasons[chunk.reasons != ""]
            self._rejects.add(source(unread.index).assign(**{REASON: unread}))
            events = events.drop(index=unread.index)
        good, bad = validate_events(events, self._now)
        if len(bad):
            self._rejects.add(source(bad.index).assign(**{REASON: bad[REASON]}))
        return good

    def _count(self, good: pd.DataFrame, read: int) -> None:
        self.rows += read
        self._progress("reading events", self.rows, self._batch.rows)
        if good.empty:
            return
        low, high = good[TIMESTAMP].min().to_pydatetime(), good[TIMESTAMP].max().to_pydatetime()
        self.first, self.last = min(self.first or low, low), max(self.last or high, high)
        names = good[EVENT].value_counts()
        self.unknown.update({str(name): int(n) for name, n in names.items() if name not in KNOWN_EVENTS})

    def _give_up_if_hopeless(self) -> None:
        rejects = self._rejects
        if self.rows and rejects.count > _HOPELESS * self.rows:
            examples = "; ".join(dict.fromkeys(rejects.examples))
            raise BadInput(
                f"{rejects.count} of {self.rows} rows of {self._batch.source} cannot be used, so nothing was "
                f"stored. For example: {examples}. Is --map right?"
            )


def _plain(mapping: Mapping[str, str] | None) -> dict[str, str] | None:
    return dict(mapping) if mapping else None
