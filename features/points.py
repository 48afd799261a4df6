"""The rule score: what each event is worth, read from YAML, as an Ibis expression and in Python."""

import re
from collections.abc import Mapping
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from nextbest.columns import HALF_LIVES, ORDER_COMPLETED
from nextbest.errors import BadInput
from nextbest.yaml_file import read_yaml

GLOBS = {
    "url": "url",
    "item": "item_id",
    "category": "path",
    "campaign": "campaign_id",
    "message": "message_id",
    "channel": "channel",
}
"""Condition of a rule -> the event's column it looks at; `path` is the item's whole category path."""


class Rule(BaseModel):
    """What one kind of event is worth; conditions are globs (* any text, ? one character), all must match.

    An order counts once, however many lines, unless the rule has an `item` or `category` condition: then each
    matching line counts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    event: str = Field(min_length=1)
    points: float = Field(allow_inf_nan=False)
    half_life_days: Literal[7, 30, 90, 365] | None = 30
    """None: the points never fade."""
    why: str = ""
    """A line for the people who read the score."""
    url: str | None = None
    item: str | None = None
    category: str | None = None
    campaign: str | None = None
    message: str | None = None
    channel: str | None = None

    @cached_property
    def conditions(self) -> dict[str, str]:
        """Map the event's column to the glob it must match."""
        return {column: glob for name, column in GLOBS.items() if (glob := getattr(self, name)) is not None}

    @property
    def once_an_order(self) -> bool:
        """Whether further lines of an order count nothing."""
        return self.event == ORDER_COMPLETED and self.item is None and self.category is None


class Rules(BaseModel):
    """All rules, and the scores from which a contact has reached something."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: tuple[Rule, ...]
    thresholds: dict[str, float] = Field(default_factory=dict)

    @field_validator("rules")
    @classmethod
    def _names_differ(cls, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        names = [rule.name for rule in rules]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"rule names must differ; twice: {', '.join(twice)}")
        return rules

    @classmethod
    def load(cls, path: Path | None = None) -> "Rules":
        """Read the YAML at `path`; None: the rules that come with the package. Raises BadInput."""
        source = path or Path(str(files("features") / "rules.yaml"))
        raw = read_yaml(source, "rules")
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise BadInput(f"the rules in {source} are wrong: {_explain(raw, error)}") from error

    def points(self, event: Mapping[str, Any], path: str | None = None) -> tuple[float, ...]:
        """Return what an event is worth for each of HALF_LIVES and, last, without fading."""
        given = [0.0] * (len(HALF_LIVES) + 1)
        for slot, rule in self._by_event.get(event["event"], ()):
            if rule.once_an_order and not event.get("lead", True):
                continue
            if all(_matches(g, path if c == "path" else event.get(c)) for c, g in rule.conditions.items()):
                given[slot] += rule.points
        return tuple(given)

    def expression(self, events: Any, half_life_days: int | None) -> Any:
        """Return the same for a table with event, lead and the columns of GLOBS: an Ibis float column."""
        total = events.event.isnull().cast("float64")  # zero; a literal would be a decimal to DuckDB
        for rule in self.rules:
            if rule.half_life_days == half_life_days:
                total = total + _condition(events, rule).cast("float64") * rule.points
        return total

    @cached_property
    def _by_event(self) -> dict[str, list[tuple[int, Rule]]]:
        found: dict[str, list[tuple[int, Rule]]] = {}
        for rule in self.rules:
            slot = len(HALF_LIVES) if rule.half_life_days is None else HALF_LIVES.index(rule.half_life_days)
            found.setdefault(rule.event, []).append((slot, rule))
        return found


def _condition(events: Any, rule: Rule) -> Any:
    found = events.event == rule.event
    if rule.once_an_order:
        found = found & events.lead
    for column, glob in rule.conditions.items():
        found = found & events[column].re_search(f"^(?s:{_pattern(glob)})$").fill_null(False)
    return found


def _matches(glob: str, value: Any) -> bool:
    return isinstance(value, str) and _compiled(glob).fullmatch(value) is not None


@lru_cache(maxsize=4096)
def _compiled(glob: str) -> re.Pattern[str]:
    return re.compile(_pattern(glob), re.DOTALL)


def _pattern(glob: str) -> str:
    """Return a regular expression that RE2, Java and Python read alike."""
    return "".join({"*": ".*", "?": "."}.get(c, c if c.isalnum() or ord(c) > 127 else "\\" + c) for c in glob)


def _explain(raw: Any, error: ValidationError) -> str:
    """Name the rule, not its number."""
    first = error.errors()[0]
    place = list(first["loc"])
    if len(place) > 1 and place[0] == "rules" and isinstance(place[1], int):
        rule = raw["rules"][place[1]]
        name = rule.get("name") if isinstance(rule, dict) else None
        place[1] = f"{name or f'number {place[1] + 1}'}"
    return f"{' → '.join(str(p) for p in place)}: {first['msg']}"
