"""The language of segments and triggers: conditions on a contact's profile, never evaluated by Python.

    churn.band == "high" and rfm.segment in ["champions", "loyal"] and value.next_90d > 50

Columns, numbers, names in quotes; == != < <= > >= (also chained: 5 < next_order.days <= 10), `in` and
`not in` a list, `is missing` and `is not missing`; + - * / on numbers; not, and, or, brackets. Names have no
order.

What reads a missing value is unknown, and so is its opposite, as in SQL: neither `value.past != 5` nor
`not value.past == 5` holds for a contact whose past value nobody knows. A mask is where a condition is true;
`is missing` finds the unknown.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from nextbest.errors import BadInput
from serving._expression_checks import Checks
from serving._expression_nodes import Condition
from serving._expression_syntax import Reader, Tree
from serving.vocabulary import VALUES, Kind

MOST_CHARACTERS = 10_000


@dataclass(frozen=True)
class Expression:
    """A condition that has been read and checked."""

    text: str
    names: tuple[str, ...]
    """The columns it reads, each once, in the order they stand in."""
    conditions: tuple["Expression", ...]
    """What a top-level `and` joins; empty where there is none."""
    _condition: Condition = field(repr=False)

    @classmethod
    def parse(
        cls, text: str, known: Mapping[str, Kind], values: Mapping[str, Collection[str]] = VALUES
    ) -> Self:
        """Read an expression over the columns `known`; `values`: the names that a column can hold.

        Raises BadInput, with what would work and the place, for what is no condition, an unknown column,
        kinds that do not go together, a name that its column never holds, an expression that reads no column,
        more than 10,000 characters, and nesting deeper than 30.
        """
        if len(text) > MOST_CHARACTERS:
            raise BadInput(f"an expression has at most {MOST_CHARACTERS:,} characters, not {len(text):,}")
        whole = Reader(text).whole()
        expression = cls._of(text, whole, known, values)
        if not expression.names:
            raise BadInput(f"'{expression.text[:60]}' reads no column, so it is the same for everybody")
        return expression

    @classmethod
    def _of(
        cls, text: str, tree: Tree, known: Mapping[str, Kind], values: Mapping[str, Collection[str]]
    ) -> Self:
        checks = Checks(text, known, values)
        condition = checks.condition(tree)
        parts = tree.parts if tree.sign == "and" else ()
        conditions = tuple(cls._of(text, part, known, values) for part in parts)
        return cls(text[tree.start : tree.end], tuple(checks.reads), conditions, condition)

    def mask(self, frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
        """Return for each row (N,) whether the condition is true. Raises BadInput for lacking columns."""
        if lacking := [name for name in self.names if name not in frame.columns]:
            raise BadInput(f"the contacts at hand have no {', '.join(lacking)}")
        return self._condition.truth(frame).true
