"""Turns the tree of an expression into conditions, checking that columns exist and kinds go together."""

import difflib
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from serving._expression_nodes import (
    All,
    AmongNames,
    AmongNumbers,
    AnyOf,
    Calculation,
    Column,
    Comparison,
    Condition,
    Missing,
    Name,
    Not,
    Number,
    Value,
)
from serving._expression_syntax import COMPARISONS, Tree
from serving._expression_tokens import bad
from serving.vocabulary import Kind

EQUALITY = ("==", "!=")
CALCULATED = ("+", "-", "*", "/")
SHOWN = 60
"""Characters of the expression that a message repeats at most."""
MOST_LISTED = 20
"""Columns of a group that a message lists at most."""


@dataclass
class Checks:
    """Reads trees of one text; `reads`: the columns found, each once."""

    text: str
    known: Mapping[str, Kind]
    allowed: Mapping[str, Collection[str]]
    reads: dict[str, None] = field(default_factory=dict)

    def condition(self, tree: Tree) -> Condition:
        """Return what a tree says of a contact. Raises BadInput where it says nothing."""
        if tree.sign == "brackets":
            return self.condition(tree.parts[0])
        if tree.sign in ("and", "chain"):
            return All(tuple(self.condition(part) for part in tree.parts))
        if tree.sign == "or":
            return AnyOf(tuple(self.condition(part) for part in tree.parts))
        if tree.sign == "not":
            return Not(self.condition(tree.parts[0]))
        if tree.sign == "missing":
            return Missing(self.value(tree.parts[0]))
        if tree.sign == "in":
            return self._among(self.value(tree.parts[0]), *tree.parts)
        if tree.sign in COMPARISONS:
            return self._comparison(tree, *tree.parts)
        value = self.value(tree)
        said = self._said(tree)
        as_in = f"{said} > 0" if value.kind == "number" else f'{said} == "…"'
        raise bad(f"{said} is a {value.kind}, not a condition; compare it, as in {as_in}", tree.start)

    def value(self, tree: Tree) -> Value:
        """Return the number or name that a tree is. Raises BadInput for a condition."""
        if tree.sign == "brackets":
            return self.value(tree.parts[0])
        if tree.sign == "text":
            return Name(tree.token[1:-1])
        if tree.sign == "number":
            return self._number(tree)
        if tree.sign == "word":
            return self._column(tree)
        if tree.sign not in CALCULATED:
            raise bad(
                f"{self._said(tree)} is a condition; it can be neither compared nor calculated with",
                tree.start,
            )
        parts = [self.value(part) for part in tree.parts]
        for part, value in zip(tree.parts, parts, strict=True):
            if value.kind == "name":
                raise bad(f"{self._said(part)} is a name; only numbers can be calculated with", part.start)
        return self._calculated(tree.sign, parts)

    def _calculated(self, sign: str, parts: list[Value]) -> Value:
        if len(parts) == 2:
            return Calculation(sign, parts[0], parts[1])
        [only] = parts  # a sign before a number
        if sign == "+":
            return only
        return Number(-only.value) if isinstance(only, Number) else Calculation("*", Number(-1.0), only)

    def _number(self, tree: Tree) -> Number:
        if not math.isfinite(value := float(tree.token)):
            raise bad(f"{self._said(tree)} is too big a number", tree.start)
        return Number(value)

    def _column(self, tree: Tree) -> Column:
        if tree.token not in self.known:
            raise bad(unknown_column(tree.token, self.known, self.allowed), tree.start)
        self.reads[tree.token] = None
        return Column(tree.token, self.known[tree.token])

    def _comparison(self, tree: Tree, left: Tree, right: Tree) -> Condition:
        one, other = self.value(left), self.value(right)
        if one.kind != other.kind:
            said = f"{self._said(tree)} compares a {one.kind} with a {other.kind}"
            raise bad(said + self._hints(one, other), tree.start)
        if one.kind == "name" and tree.sign not in EQUALITY:
            said = f"{self._said(tree)}: names have no order; compare them by ==, !=, in or not in"
            raise bad(said + self._hints(one, other), tree.start)
        if one.kind == "number":
            return Comparison(tree.sign, one, other)
        column, name, at = (other, one, left) if isinstance(one, Name) else (one, other, right)
        if not isinstance(column, Column) or not isinstance(name, Name):
            return Comparison(tree.sign, one, other)
        among = AmongNames(column, (self._held(column, name, at),))
        return among if tree.sign == "==" else Not(among)

    def _among(self, value: Value, left: Tree, options: Tree) -> Condition:
        literals = [(self._literal(part, value, left), part) for part in options.parts]
        if value.kind == "number":
            return AmongNumbers(value, tuple(n.value for n, _ in literals if isinstance(n, Number)))
        if not isinstance(value, Column):
            raise bad(f"{self._said(left)} is no column; look for a column in the list", left.start)
        return AmongNames(
            value, tuple(self._held(value, name, at) for name, at in literals if isinstance(name, Name))
        )

    def _literal(self, tree: Tree, among: Value, left: Tree) -> Number | Name:
        """Return a number or name of a list, of the kind that is looked for."""
        found = self.value(tree)
        if not isinstance(found, Number | Name):
            raise bad(f"{self._said(tree)}: a list holds numbers or names in quotes", tree.start)
        if found.kind != among.kind:
            said = f"{self._said(left)} is a {among.kind}, {self._said(tree)} in the list a {found.kind}"
            raise bad(said + self._hints(among), tree.start)
        return found

    def _held(self, column: Column, name: Name, tree: Tree) -> str:
        """Return a name that its column can hold. Raises BadInput for another."""
        allowed = self.allowed.get(column.name)
        if allowed is not None and name.value not in allowed:
            said = f"{column.name} is never {self._said(tree)}{_near(name.value, allowed)}"
            raise bad(said + self._hints(column), tree.start)
        return name.value

    def _hints(self, *values: Value) -> str:
        """Say of each column what it is, and which names it can hold."""
        said = []
        for value in values:
            if isinstance(value, Column):
                names = self.allowed.get(value.name)
                what = f"one of {', '.join(names)}" if names else f"a {value.kind}"
                said.append(f"; {value.name} is {what}")
        return "".join(dict.fromkeys(said))

    def _said(self, tree: Tree) -> str:
        text = self.text[tree.start : tree.end]
        return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def unknown_column(name: str, known: Collection[str], allowed: Mapping[str, Collection[str]]) -> str:
    """Say what there is in the place of a column that is not."""
    said = f"no column '{name[:SHOWN]}'{_near(name, known)}"
    if any(name in names for names in allowed.values()):
        return f'{said}; a name is written in quotes: "{name}"'
    group = name.partition(".")[0]
    within = [column for column in known if column.startswith(f"{group}.")]
    if 0 < len(within) <= MOST_LISTED:
        return f"{said}; {group} has {', '.join(within)}"
    groups = dict.fromkeys(column.partition(".")[0] for column in known)
    return f"{said}; columns begin with {', '.join(groups)}"


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name[:SHOWN], list(known), 3, 0.7)
    return f"; did you mean {' or '.join(near)}?" if near else ""
