"""The trigger rules: what is watched of a contact's profile, read from YAML and checked."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from features.points import Rules as PointRules
from models.rfm import SEGMENT_NAMES
from nextbest.errors import BadInput
from nextbest.settings import Settings
from nextbest.yaml_file import read_yaml
from serving.expression import Expression
from serving.vocabulary import KNOWN, VALUES

SCORE_STAGE, NO_STAGE = "score.stage", "none"
ORDERS: Mapping[str, tuple[str, ...]] = {
    "rfm.segment": tuple(reversed(SEGMENT_NAMES)),
    "lifecycle.stage": (
        "visitor", "lead", "engaged", "sales_ready",
        "lost", "leaving", "slipping", "new", "active", "loyal",  # a first order is up, whatever came of it
    ),
    "churn.band": ("low", "medium", "high"),
    "engagement.half": ("before", "after"),
}  # fmt: skip
"""Column -> its names from the lowest to the highest; other names it may hold are no place (unknown, …)."""
TRUE, FALSE = "true", "false"
Objects = npt.NDArray[np.object_]


class TriggerRule(BaseModel):
    """One rule as the YAML has it: `when`, or `moves` with a direction or with lists."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    """Goes into the event and its type; a rule under another name begins anew with every contact."""
    why: str = ""
    """A line for the people who read the events."""
    when: str | None = None
    """An expression; the rule fires when it becomes true."""
    moves: str | None = None
    """A column of names; the rule fires when it changes as said."""
    direction: Literal["up", "down", "any"] | None = None
    from_: tuple[str, ...] | None = Field(None, alias="from", min_length=1)
    to: tuple[str, ...] | None = Field(None, min_length=1)
    cooldown_days: float = Field(0.0, ge=0, le=3650, allow_inf_nan=False)
    """Days after a firing in which it does not fire for the contact again; 0: no such rest."""
    carry: tuple[str, ...] = ()
    """Columns whose values are written into the event, beside those the rule reads."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.when is None) == (self.moves is None):
            raise ValueError("a rule has either 'when' (an expression) or 'moves' (a column)")
        listed = self.from_ is not None or self.to is not None
        if self.when is not None and (listed or self.direction):
            raise ValueError("'direction', 'from' and 'to' go with 'moves', not with 'when'")
        if self.moves is not None and listed == (self.direction is not None):
            raise ValueError("'moves' needs either 'direction' (up, down or any), or 'from' or 'to' (names)")
        return self


@dataclass(frozen=True)
class WhenWatch:
    """Sees whether an expression is true, and fires when it becomes so; what is unknown is not true."""

    rule: TriggerRule
    expression: Expression

    @property
    def columns(self) -> tuple[str, ...]:
        """Return every column it reads or carries, each once."""
        return tuple(dict.fromkeys((*self.expression.names, *self.rule.carry)))

    def values(self, frame: pd.DataFrame) -> Objects:
        """Return for each row (N,) what is seen."""
        return np.where(self.expression.mask(frame), TRUE, FALSE).astype(object)

    def fires(self, before: str, after: str) -> bool:
        """Tell whether a change fires."""
        return after == TRUE != before


@dataclass(frozen=True)
class MoveWatch:
    """Fires when a name changes: along an order, or from one list into another."""

    rule: TriggerRule
    column: str
    order: tuple[str, ...] | None
    places: frozenset[str] | None = None
    """The names that count; None: all."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Return every column it reads or carries, each once."""
        return tuple(dict.fromkeys((self.column, *self.rule.carry)))

    def values(self, frame: pd.DataFrame) -> Objects:
        """Return for each row (N,) the name; None where it is no place, which changes nothing."""
        names = frame[self.column]
        known = names.notna() if self.places is None else names.isin(self.places)
        return names.astype(object).where(known, None).to_numpy(object)

    def fires(self, before: str, after: str) -> bool:
        """Tell whether a change fires."""
        rule = self.rule
        if before == after:
            return False
        if rule.direction is None:
            return (rule.from_ is None or before in rule.from_) and (rule.to is None or after in rule.to)
        if rule.direction == "any" or self.order is None:
            return True
        if before not in self.order:  # a name of an earlier version of the rules
            return False
        up = self.order.index(after) > self.order.index(before)
        return up is (rule.direction == "up")


Watch = WhenWatch | MoveWatch


@dataclass(frozen=True)
class TriggerRules:
    """All rules, checked; `columns`: what they read and carry, each once."""

    watches: tuple[Watch, ...]
    cooldowns: Mapping[str, int] = field(default_factory=dict)
    """Rule -> microseconds."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the profile's columns that the rules need."""
        return tuple(dict.fromkeys(name for watch in self.watches for name in watch.columns))

    @classmethod
    def load(cls, settings: Settings) -> Self:
        """Read the YAML of the settings, or the rules that come with the package. Raises BadInput."""
        source = settings.triggers or Path(str(files("serving") / "triggers.yaml"))
        raw = read_yaml(source, "triggers")
        thresholds = PointRules.load(settings.rules).thresholds
        stages = (NO_STAGE, *sorted(thresholds, key=lambda name: (thresholds[name], name)))
        try:
            return cls.read(raw, {**ORDERS, SCORE_STAGE: stages}, {**VALUES, SCORE_STAGE: stages})
        except BadInput as error:
            raise BadInput(f"the triggers in {source} are wrong: {error}") from None

    @classmethod
    def read(
        cls,
        raw: Any,
        orders: Mapping[str, tuple[str, ...]] = ORDERS,
        values: Mapping[str, Collection[str]] = VALUES,
    ) -> Self:
        """Check what a YAML holds; `values`: the names a column can hold. Raises BadInput naming the rule."""
        if not isinstance(raw, dict) or set(raw) != {"rules"} or not isinstance(raw["rules"], list):
            raise BadInput("write 'rules:' with a list of rules below, and nothing else")
        rules = [_checked(one, number) for number, one in enumerate(raw["rules"], 1)]
        names = [rule.name for rule in rules]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise BadInput(f"rule names must differ; twice: {', '.join(twice)}")
        watches: list[Watch] = []
        for rule in rules:
            try:
                watches.append(_watch(rule, orders, values))
            except BadInput as error:
                raise BadInput(f"{rule.name}: {error}") from None
        cooldowns = {rule.name: round(rule.cooldown_days * 86_400e6) for rule in rules if rule.cooldown_days}
        return cls(tuple(watches), cooldowns)


def _checked(raw: Any, number: int) -> TriggerRule:
    try:
        return TriggerRule.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
    name = raw.get("name") if isinstance(raw, dict) else None
    where = "".join(f" → {part}" for part in first["loc"])
    said = str(first["ctx"]["error"]) if first["type"] == "value_error" else first["msg"]
    raise BadInput(f"{name or f'rule number {number}'}{where}: {said}")


def _watch(
    rule: TriggerRule, orders: Mapping[str, tuple[str, ...]], values: Mapping[str, Collection[str]]
) -> Watch:
    for column in rule.carry:
        _column(column, "carry")
    if rule.when is not None:
        return WhenWatch(rule, Expression.parse(rule.when, KNOWN, values))
    column = str(rule.moves)
    if _column(column, "moves") != "name":
        raise BadInput(f"moves: {column} is a number; write when: {column} > … instead")
    order = orders.get(column)
    if rule.direction in ("up", "down") and order is None:
        raise BadInput(
            f"moves: {column} has no order, so no direction up or down; ordered: {', '.join(orders)}"
        )
    asked = (*(rule.from_ or ()), *(rule.to or ()))
    allowed = values.get(column)
    if allowed is not None and (never := [name for name in asked if name not in allowed]):
        raise BadInput(f"moves: {column} is never {', '.join(never)}; it is one of {', '.join(allowed)}")
    counts = order is not None and rule.direction != "any"
    return MoveWatch(rule, column, order, frozenset((*(order or ()), *asked)) if counts else None)


def _column(name: str, where: str) -> str:
    if name not in KNOWN:
        group = name.partition(".")[0]
        within = [column for column in KNOWN if column.startswith(f"{group}.")]
        known = ", ".join(within or dict.fromkeys(column.partition(".")[0] + ".…" for column in KNOWN))
        raise BadInput(f"{where}: no column '{name}'; known: {known}")
    return KNOWN[name]
