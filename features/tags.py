"""Tags from behaviour: where contacts came from, their language, device, interests and habitual hours.

They describe, and nothing is learned from them. A tag has its evidence beside it; what is not known is None.
A build makes the table (features._tags_table), a row for each contact of whom anything is told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow.dataset as ds

from features.tables import table_path
from nextbest.columns import CONTACT_ID
from nextbest.settings import Settings

TAGS = "contact_tags"


@dataclass(frozen=True)
class Tags:
    """What behaviour tells of one contact; None or empty where it tells nothing."""

    source: str | None = None
    """Of the first visit: search, social, direct, email, ads, referral, or another message's channel."""
    source_at: datetime | None = None
    last_source: str | None = None
    last_source_at: datetime | None = None
    visits: int = 0
    language: str | None = None
    """ISO 639, as most events say; `_share` is their share of the events that tell any, `_evidence` those."""
    language_share: float | None = None
    language_evidence: int = 0
    device: str | None = None
    """phone, tablet or computer."""
    device_share: float | None = None
    device_evidence: int = 0
    interests: Mapping[str, float] = field(default_factory=dict)
    """Category -> strength, strongest first: 0.5 is the middle one of all who have any interest in it."""
    interest_evidence: Mapping[str, int] = field(default_factory=dict)
    """Category -> events."""
    timezone: str | None = None
    """Whose hours and weekdays they are; None: unknown, so UTC."""
    hours: Sequence[str] = ()
    """Windows as "18-21", only where the evidence is more than chance (features._tags_habits)."""
    hours_share: float | None = None
    hours_evidence: int = 0
    weekdays: Sequence[str] = ()
    weekdays_share: float | None = None
    weekdays_evidence: int = 0

    @property
    def top_interest(self) -> str | None:
        """Return the category of the strongest interest."""
        return next(iter(self.interests), None)

    def columns(self) -> dict[str, str | None]:
        """Return the profile's columns."""
        named = {"tags.source": self.source, "tags.language": self.language, "tags.device": self.device}
        return {**named, "tags.top_interest": self.top_interest}

    def plain(self) -> dict[str, Any]:
        """Return the tags as JSON has them."""
        return asdict(self) | {"source_at": _iso(self.source_at), "last_source_at": _iso(self.last_source_at)}


NOTHING = Tags()


def tags_of(settings: Settings, contact_ids: Sequence[str]) -> dict[str, Tags]:
    """Return the tags of contacts by id; of those nothing is told of, and before a build, there are none.

    Reads the row groups of the table that may hold them.
    """
    path = table_path(settings, TAGS)
    if not path.exists() or not contact_ids:
        return {}
    held = ds.field(CONTACT_ID)  # the range tells which row groups; membership alone does not
    asked = (held >= min(contact_ids)) & (held <= max(contact_ids)) & held.isin(list(contact_ids))
    return {row.pop(CONTACT_ID): _tags(row) for row in ds.dataset(path).to_table(filter=asked).to_pylist()}


def profile_columns(settings: Settings, contact_ids: Sequence[str]) -> pd.DataFrame:
    """Return tags.source, tags.language, tags.device and tags.top_interest of contacts, in their order."""
    found = tags_of(settings, contact_ids)
    rows = [found.get(contact, NOTHING).columns() for contact in contact_ids]
    index = pd.Index(list(contact_ids), name=CONTACT_ID)
    return pd.DataFrame(rows, columns=list(NOTHING.columns()), index=index, dtype=object)


def _tags(row: dict[str, Any]) -> Tags:
    names, strengths, counts = (
        row.pop(f"interest_{part}") or () for part in ("names", "strengths", "evidence")
    )
    interests = dict(zip(names, strengths, strict=True))
    told = {name: value for name, value in row.items() if value is not None}
    return Tags(**told, interests=interests, interest_evidence=dict(zip(names, counts, strict=True)))


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()
