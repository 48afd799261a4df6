"""Segments: whom an expression finds among all contacts, counted block by block."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.points import Rules
from nextbest.columns import CONTACT_ID
from nextbest.errors import BadInput
from nextbest.progress import Progress
from nextbest.settings import Settings
from serving._expression_checks import unknown_column
from serving.expression import Expression
from serving.vocabulary import KNOWN, VALUES

NOTHING_REACHED = "none"
"""The score's stage of a contact that has reached no threshold."""


def profiles(
    settings: Settings,
    now: datetime,
    contact_ids: Sequence[str] | None,
    columns: Collection[str],
    progress: Progress,
) -> Iterator[pd.DataFrame]:
    """Yield contacts' profiles in blocks, contact_id and at least these columns; ids None: everyone's."""
    from serving.profiles import profiles as found

    yield from found(settings, now, contact_ids, columns, progress)


def read_expression(settings: Settings, text: str) -> Expression:
    """Read an expression over the profile; the score's stages are those of the rules. Raises BadInput."""
    stages = (*Rules.load(settings.rules).thresholds, NOTHING_REACHED)
    return Expression.parse(text, KNOWN, {**VALUES, "score.stage": stages})


def read_columns(names: Sequence[str]) -> tuple[str, ...]:
    """Return contact_id and these columns of the profile, each once. Raises BadInput for an unknown one."""
    for name in names:
        if name not in KNOWN:
            raise BadInput(unknown_column(name, KNOWN, VALUES))
    return tuple(dict.fromkeys((CONTACT_ID, *names)))


class Selection:
    """Counts whom an expression finds, block by block.

    `conditions`: each part of its top-level `and` and how many it finds alone. `groups`: column of names ->
    name -> (found, all) contacts that have it.
    """

    def __init__(self, expression: Expression, by: Sequence[str] = ()) -> None:
        self.expression = expression
        self.count = self.total = 0
        self.conditions = [(part.text, 0) for part in expression.conditions]
        self.groups: dict[str, dict[str, tuple[int, int]]] = {column: {} for column in by}

    @property
    def columns(self) -> tuple[str, ...]:
        """What a block must have to be counted."""
        return tuple(dict.fromkeys((*self.expression.names, *self.groups)))

    def take(self, block: pd.DataFrame) -> pd.DataFrame:
        """Count a block, and return its contacts that are found."""
        masks = [part.mask(block) for part in self.expression.conditions]
        found = np.logical_and.reduce(masks) if masks else self.expression.mask(block)
        self.conditions = [
            (text, count + int(mask.sum()))
            for (text, count), mask in zip(self.conditions, masks, strict=True)
        ]
        self.count, self.total = self.count + int(found.sum()), self.total + len(block)
        for column, group in self.groups.items():
            _count(group, block[column], found)
        return block[found]


def _count(group: dict[str, tuple[int, int]], names: "pd.Series[str]", found: npt.NDArray[np.bool_]) -> None:
    """Add the names of a block to (found, all) of each."""
    inside = names[found].value_counts()
    for name, number in names.value_counts().items():
        before, of_all = group.get(str(name), (0, 0))
        group[str(name)] = (before + int(inside.get(name, 0)), of_all + int(number))
