"""POST /v1/segments: an expression asked over HTTP.

It reads everybody, and pages are answered beside it: one at a time in a process, for less than a minute.
"""

import threading
import time
from datetime import datetime
from typing import Annotated, Any, Self

import pandas as pd
from pydantic import Field, model_validator

from nextbest.errors import BadInput, NotReady
from nextbest.progress import silent
from nextbest.settings import Settings
from serving import segments
from serving.expression import MOST_CHARACTERS, Expression
from serving.refused import Refused
from serving.schemas import Answer, Id, Request, Unique
from serving.segments import Selection, read_columns, read_expression

MOST_SECONDS = 50.0
"""After which a call gives up: callers and proxies wait a minute."""
INFINITE = (float("inf"), float("-inf"))
_ALONE = threading.Lock()


class SegmentsRequest(Request):
    """Whom an expression finds (docs/segments.md)."""

    expression: Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]
    count_only: bool = True
    limit: int = Field(1000, ge=1, le=10_000)
    """Contacts listed at most, the first by id; with count_only false."""
    columns: Annotated[list[Id], Field(max_length=50), Unique] | None = None
    """What is told of each; absent: the columns that the expression reads. With count_only false."""

    @model_validator(mode="after")
    def _lists_only_when_asked(self) -> Self:
        for name in ("limit", "columns"):
            if self.count_only and name in self.model_fields_set:
                raise ValueError(f"'{name}' is for count_only false")
        return self


class ConditionCount(Answer):
    """A part of the expression's top-level `and`, and how many contacts it finds alone."""

    expression: str
    count: int


class Segments(Answer):
    """How many contacts an expression finds, of how many, and who they are if that was asked."""

    count: int
    total: int
    conditions: list[ConditionCount]
    contacts: list[dict[str, float | str | None]]
    """contact_id and the columns; null where nothing is known."""


def answer(settings: Settings, asked: SegmentsRequest, now: datetime) -> Segments:
    """Count, and list if asked.

    Raises Refused: 400 for an expression or column that cannot be used; 429 while another is counted; 503
    where nothing is built yet, and at the first block of contacts after 50 seconds.
    """
    try:
        expression = read_expression(settings, asked.expression)
        columns = read_columns(expression.names if asked.columns is None else asked.columns)
    except BadInput as error:
        raise Refused(400, "invalid_expression", str(error)) from None
    if not _ALONE.acquire(blocking=False):
        raise Refused(429, "busy", "another segment is being counted; ask again", {"retry-after": "5"})
    try:
        return _select(settings, asked, now, expression, () if asked.count_only else columns)
    except NotReady as error:
        raise Refused(503, "not_ready", str(error)) from None
    finally:
        _ALONE.release()


def _select(
    settings: Settings,
    asked: SegmentsRequest,
    now: datetime,
    expression: Expression,
    columns: tuple[str, ...],
) -> Segments:
    until = time.monotonic() + MOST_SECONDS
    selection, contacts = Selection(expression), list[dict[str, Any]]()
    needed = {*selection.columns, *columns}
    for block in segments.profiles(settings, now, None, needed, silent):
        if time.monotonic() > until:
            said = f"counting takes more than {MOST_SECONDS:.0f} seconds here; use: nextbest segment … --json"
            raise Refused(503, "too_long", said)
        found = selection.take(block)
        if columns:
            contacts += _rows(found[: asked.limit - len(contacts)], columns)
    conditions = [ConditionCount(expression=text, count=count) for text, count in selection.conditions]
    return Segments(count=selection.count, total=selection.total, conditions=conditions, contacts=contacts)


def _rows(frame: pd.DataFrame, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return rows as JSON has them: null for what is missing, and for what is no finite number."""
    told = {
        name: frame[name].astype(object).where(frame[name].notna() & ~frame[name].isin(INFINITE), None)
        for name in columns
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*told.values(), strict=True)]
