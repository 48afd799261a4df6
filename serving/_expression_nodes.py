"""What an expression is made of: values, numbers or names of each contact, and conditions on them.

A condition is true, false or unknown (Kleene's three values, as in SQL): whatever reads a value that is
missing is unknown, and so is its opposite.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from serving.vocabulary import Kind

Bools = npt.NDArray[np.bool_]
Values = npt.NDArray[Any]

ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
ORDER: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Truth(NamedTuple):
    """Where a condition is true and where it is false (N,); elsewhere it is unknown."""

    true: Bools
    false: Bools


class Value(Protocol):
    """A number or a name of each contact."""

    @property
    def kind(self) -> Kind:
        """What it is."""

    def values(self, frame: pd.DataFrame) -> Values:
        """Return for each row (N,) float64, NaN where missing, or objects, None or NaN where missing."""


class Condition(Protocol):
    """Something that holds for a contact or not."""

    def truth(self, frame: pd.DataFrame) -> Truth:
        """Return where it holds."""


@dataclass(frozen=True)
class Column:
    """A column of the profile."""

    name: str
    kind: Kind

    def values(self, frame: pd.DataFrame) -> Values:
        """Return the column."""
        column = frame[self.name]
        if self.kind == "number":
            return column.to_numpy(np.float64, na_value=np.nan)
        return column.to_numpy(object)


@dataclass(frozen=True)
class Number:
    """A number as it was written."""

    value: float
    kind: Kind = "number"

    def values(self, frame: pd.DataFrame) -> Values:
        """Return it for each row."""
        return np.full(len(frame), self.value)


@dataclass(frozen=True)
class Name:
    """A name as it was written, without its quotes."""

    value: str
    kind: Kind = "name"

    def values(self, frame: pd.DataFrame) -> Values:
        """Return it for each row."""
        return np.full(len(frame), self.value, dtype=object)


@dataclass(frozen=True)
class Calculation:
    """Two numbers in a sum or product; unknown where it is no finite number (a division by 0)."""

    sign: str
    left: Value
    right: Value
    kind: Kind = "number"

    def values(self, frame: pd.DataFrame) -> Values:
        """Return the result of each row."""
        with np.errstate(all="ignore"):
            found = ARITHMETIC[self.sign](self.left.values(frame), self.right.values(frame))
        return np.where(np.isfinite(found), found, np.nan)


@dataclass(frozen=True)
class Comparison:
    """Two values of one kind compared; names for equality only."""

    sign: str
    left: Value
    right: Value

    def truth(self, frame: pd.DataFrame) -> Truth:
        """Return where it holds; unknown where either is missing."""
        left, right = self.left.values(frame), self.right.values(frame)
        known = ~(_missing(left) | _missing(right))
        holds = np.zeros(len(frame), dtype=bool)
        if self.left.kind == "number":
            holds = np.asarray(ORDER[self.sign](left, right), dtype=bool)
        else:
            holds[known] = ORDER[self.sign](left[known], right[known])
        return Truth(holds & known, ~holds & known)


@dataclass(frozen=True)
class AmongNumbers:
    """A number that is one of some."""

    value: Value
    options: tuple[float, ...]

    def truth(self, frame: pd.DataFrame) -> Truth:
        """Return where it is one of them; unknown where it is missing."""
        values = self.value.values(frame)
        known, holds = ~_missing(values), np.isin(values, self.options)
        return Truth(holds & known, ~holds & known)


@dataclass(frozen=True)
class AmongNames:
    """A column of names that is one of some: one pass over the column, however many names there are."""

    column: Column
    options: tuple[str, ...]

    def truth(self, frame: pd.DataFrame) -> Truth:
        """Return where it is one of them; unknown where it is missing."""
        column = frame[self.column.name]
        holds = column.isin(self.options).to_numpy(bool)
        return Truth(holds, ~holds & column.notna().to_numpy(bool))


@dataclass(frozen=True)
class Missing:
    """Nothing is known of a value; this itself is never unknown."""

    value: Value

    def truth(self, frame: pd.DataFrame) -> Truth:
        """Return where there is no value."""
        missing = _missing(self.value.values(frame))
        return Truth(missing, ~missing)


@dataclass(frozen=True)
class Not:
    """The opposite; of unknown, unknown."""

    condition: Condition

    def truth(self, frame: pd.DataFrame) -> Truth:
        """Return the two sides exchanged."""
        true, false = self.condition.truth(frame)
        return Truth(false, true)


@dataclass(frozen=True)
class All:
    """Conditions joined by `and`: false as soon as one is, true if all are."""

    parts: tuple[Condition, ...]

    def truth(self, frame: pd.DataFrame) -> Truth:
        """Return where all hold, and where any does not."""
        true, false = np.ones(len(frame), dtype=bool), np.zeros(len(frame), dtype=bool)
        for part in self.parts:
            holds = part.truth(frame)
            true, false = true & holds.true, false | holds.false
        return Truth(true, false)


@dataclass(frozen=True)
class AnyOf:
    """Conditions joined by `or`: true as soon as one is, false if none can be."""

    parts: tuple[Condition, ...]

    def truth(self, frame: pd.DataFrame) -> Truth:
        """Return where any holds, and where none does."""
        true, false = np.zeros(len(frame), dtype=bool), np.ones(len(frame), dtype=bool)
        for part in self.parts:
            holds = part.truth(frame)
            true, false = true | holds.true, false & holds.false
        return Truth(true, false)


def _missing(values: Values) -> Bools:
    return np.isnan(values) if values.dtype == np.float64 else np.asarray(pd.isna(values), dtype=bool)
