"""What an importer is: one file of this package with NAME, `accepts` and `read`; nothing else is edited.

An importer reads and does not judge: ingest validates every row, writes and counts.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from nextbest.progress import Progress, silent


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line."""

    source: str
    """An importer's name, or a file."""
    workspace: Path
    """An empty folder for what does not fit in memory; gone afterwards."""
    mapping: Mapping[str, str] | None = None
    """Canonical name -> the file's column."""
    table: str = "events"
    options: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress = silent


@dataclass(frozen=True)
class Chunk:
    """Raw event rows, not validated."""

    events: pd.DataFrame
    """Canonical columns, any of them missing; others end in `properties`."""
    rows: Callable[[pd.Index], pd.DataFrame] | None = None
    """Index values -> these rows as the source has them, for the reject file; None: `events` are those."""
    reasons: pd.Series | None = None
    """Why the importer could not read a row, "" where it could (same index); None: it could read all."""


@dataclass(frozen=True)
class Batch:
    """What a source holds."""

    source: str
    """The name it is remembered by."""
    rows: int
    """Rows of events, for the progress bar."""
    last: datetime | None
    """Time of the last event, for --shift-to-today."""
    events: Callable[[timedelta], Iterator[Chunk]] | None = None
    """Yields the events moved by the given time."""
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """Raw items, contacts, identities."""
    notes: tuple[str, ...] = ()
    """What a person should know of how it was read (day first, decimal comma …)."""


class Importer(Protocol):
    """A module of this package."""

    NAME: str
    """As on the command line; for files, what is accepted."""

    def accepts(self, request: Request) -> bool:
        """Say whether this importer reads the source."""

    def read(self, request: Request) -> Batch:
        """Look into the source. Raises BadInput, naming what would work."""
