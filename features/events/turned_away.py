"""Events sent over HTTP that can never be stored: kept with the reason, without addresses."""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any

from features.events._addresses import json_without, text_without, traits_without
from features.events._files import flush

COLUMNS = ("received_at", "message_id", "type", "contact_id", "anonymous_id", "event", "reason", "message")
LONGEST = 2_000
"""Characters kept of a message."""
LOCK = ".lock"


class TurnedAway:
    """A CSV file a day in the folder of rejects; several processes may add to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, bad: Sequence[tuple[Any, str]], now: datetime) -> None:
        """Add (message, reason) pairs; durable when it returns."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"http-{now:%Y-%m-%d}.csv"
        with (self._folder / LOCK).open("w") as lock:
            flock(lock, LOCK_EX)
            text = io.StringIO()
            rows = csv.writer(text, lineterminator="\n")
            if not path.exists():
                rows.writerow(COLUMNS)
            rows.writerows(_row(message, reason, now) for message, reason in bad)
            with path.open("a", newline="", encoding="utf-8", errors="replace") as out:
                out.write(text.getvalue())
            flush(path)


def _row(message: Any, reason: str, now: datetime) -> list[str]:
    held = message if isinstance(message, Mapping) else {"message": message}
    kept = {key: value for key, value in traits_without(held).items() if key != "writeKey"}
    ids = [_cell(held.get(name)) for name in ("messageId", "type", "userId", "anonymousId", "event")]
    said = json_without(kept) or ""
    return [now.isoformat(), *ids, text_without(reason), said[:LONGEST]]


def _cell(value: Any) -> str:
    return "" if value is None else str(value).replace("\x00", "")[:200]
