"""What was never taken by a webhook: a file of JSON lines that several processes may add to."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any

from features.events._files import flush, written_aside

Line = Mapping[str, Any]


class DeadLetters:
    """A file of lines; they are durable when `add` returns."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def add(self, line: Line) -> None:
        """Add a line, whole, whatever the one before it came to."""
        with self._alone(), self._file.open("ab+") as out:
            size = out.seek(0, os.SEEK_END)
            out.seek(max(size - 1, 0))
            torn = size > 0 and out.read(1) != b"\n"  # of a process that was killed
            out.write((b"\n" if torn else b"") + json.dumps(line).encode() + b"\n")
            out.flush()
            os.fsync(out.fileno())
        flush(self._file.parent)

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines; what is no JSON object is left out."""
        try:
            text = self._file.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        return [line for line in map(_read, text.splitlines()) if line is not None]

    def work_off(self, keep: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        """Hand all lines over, and keep those that come back; nobody adds one meanwhile."""
        with self._alone():
            kept = keep(self.lines())
            with written_aside(self._file) as aside:
                aside.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.with_suffix(".lock").open("w") as lock:
            flock(lock, LOCK_EX)
            yield


def _read(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
