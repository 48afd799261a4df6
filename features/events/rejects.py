"""Rows that could not be taken in: kept with the reason, counted, never lost."""

import csv
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from fcntl import LOCK_EX, flock
from pathlib import Path
from types import TracebackType
from typing import Self

import pandas as pd

from features.events._files import flush, remove_asides, written_aside
from features.events.schema import REASON
from features.events.turned_away import LOCK

_VALUE = re.compile(r" '.*?'(?= |$|;)")


class Rejects:
    """A CSV file written aside; appears as `<source>-<digest of its content>.csv` when the block ends well.

    The same rejects twice make the same file.
    """

    def __init__(self, folder: Path, source: str) -> None:
        self.count = 0
        self.reasons: Counter[str] = Counter()
        """How many rows by reason, the rejected values left out."""
        self.examples: list[str] = []
        self.file: Path | None = None
        self._folder = folder
        self._stem = re.sub(r"[^A-Za-z0-9._-]+", "_", source)
        self._aside = folder / f".{self._stem}.tmp"
        self._digest = hashlib.sha256()

    def add(self, rows: pd.DataFrame) -> None:
        """Add raw rows that have a `reason` column."""
        if rows.empty:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        text = rows.to_csv(index=False, header=self.count == 0).encode()
        with self._aside.open("ab" if self.count else "wb") as out:
            out.write(text)
        self._digest.update(text)
        self.count += len(rows)
        self.reasons.update(_VALUE.sub("", reason) for reason in rows[REASON])
        self.examples += (
            [f"{r}" for r in rows[REASON].head(3 - len(self.examples))] if len(self.examples) < 3 else []
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self.count:
            flush(self._aside)
            self.file = self._folder / f"{self._stem}-{self._digest.hexdigest()[:12]}.csv"
            self._aside.replace(self.file)
        self._aside.unlink(missing_ok=True)


def erase(folder: Path, ids: Sequence[str]) -> int:
    """Drop the rejected rows in which any cell is one of the ids, or JSON that has it; returns how many.

    The caller holds the lake, so that nothing is being taken in from files.
    """
    if not folder.exists():
        return 0
    with (folder / LOCK).open("w") as lock:
        flock(lock, LOCK_EX)  # the intake adds to these files
        remove_asides(folder)
        return sum(_erase(path, set(ids)) for path in sorted(folder.glob("*.csv")))


def _erase(path: Path, gone: set[str]) -> int:
    csv.field_size_limit(sys.maxsize)  # a rejected row may be of any length
    with path.open(newline="", encoding="utf-8") as source:
        lines = list(csv.reader(source))
    within = [json.dumps(one, ensure_ascii=ascii_only) for one in gone for ascii_only in (False, True)]
    kept = [
        line
        for number, line in enumerate(lines)
        if number == 0 or not (gone.intersection(line) or any(one in cell for cell in line for one in within))
    ]
    if len(kept) == len(lines):
        return 0
    if len(kept) <= 1:
        path.unlink()
    else:
        with written_aside(path) as aside, aside.open("w", newline="", encoding="utf-8") as out:
            csv.writer(out, lineterminator="\n").writerows(kept)
    return len(lines) - len(kept)
