"""Needs that grow: whoever bought a size needs the next one after a time, said by rules in YAML.

A rule reads purchases (globs on the item), finds the size in a text, and gives the next sizes and their
dates: step j of a purchase at t is due at t + after + (j - 1) every, within a window about that date.
Compiled against a catalogue, purchases and needs are arrays, so that one contact and a million are the same
few lines.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from models.catalogue import Catalogue
from nextbest.errors import BadInput
from nextbest.yaml_file import read_yaml

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
GLOBS = ("item", "category", "title", "brand")
MOST_STEPS = 100


def _duration(value: Any) -> Any:
    """Let only ISO 8601 texts through: a plain number would be taken for seconds."""
    if not (isinstance(value, str) and value.startswith("P")):
        raise ValueError(f"{value!r} is no duration; write P365D, or P2W as P14D")
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration)]


class NeedRule(BaseModel):
    """Which purchases grow into what, and when."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    item: str | None = None
    category: str | None = None
    """Of the whole category path. The four are globs (* any text, ? one character), upper or lower case."""
    title: str | None = None
    brand: str | None = None
    size: str
    """A pattern with one group that holds the size; what it does not find has none."""
    size_in: Literal["item", "category", "title", "brand"] = "title"
    step: float = Field(1.0, gt=0, allow_inf_nan=False)
    """What is added to a size that is a number."""
    ladder: tuple[str, ...] = ()
    """Sizes that are names, smallest first."""
    until: float | None = None
    """The last size offered, where they are numbers."""
    times: int | None = Field(None, ge=1, le=MOST_STEPS)
    """Steps at most."""
    after: Duration
    every: Duration | None = None
    early: Duration = timedelta(days=30)
    late: Duration = timedelta(days=30)

    @model_validator(mode="after")
    def _makes_sense(self) -> "NeedRule":
        if not any(getattr(self, name) for name in GLOBS):
            raise ValueError(f"give at least one of {', '.join(GLOBS)}")
        try:
            groups = re.compile(self.size).groups
        except re.error as error:
            raise ValueError(f"size {self.size!r} is no pattern: {error}") from None
        if groups != 1:
            raise ValueError(f"size {self.size!r} must have one group in brackets, such as 'Age (\\d+)'")
        if self.every is not None and self.until is None and self.times is None and not self.ladder:
            raise ValueError("with `every` it would never end; give until, times or a ladder")
        if self.after <= timedelta(0) or (self.every is not None and self.every <= timedelta(0)):
            raise ValueError("after and every must be longer than nothing")
        return self

    @property
    def steps(self) -> int:
        """Steps at most."""
        return 1 if self.every is None else self.times or MOST_STEPS

    def rank(self, texts: Mapping[str, str]) -> float | None:
        """Return the size of an item by its texts (GLOBS): its number, or its place in the ladder."""
        if not all(glob.fullmatch(texts[name]) for name, glob in self._globs.items()):
            return None
        found = self._pattern.search(texts[self.size_in])
        if found is None or found[1] is None:
            return None
        if self.ladder:
            rungs = [rung.lower() for rung in self.ladder]
            return float(rungs.index(found[1].lower())) if found[1].lower() in rungs else None
        try:
            return float(found[1].replace(",", "."))
        except ValueError:
            return None

    @cached_property
    def _globs(self) -> dict[str, re.Pattern[str]]:
        given = {name: getattr(self, name) for name in GLOBS}
        return {name: _compiled(glob) for name, glob in given.items() if glob is not None}

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(self.size, re.IGNORECASE)

    def after_steps(self, rank: float, steps: int) -> float | None:
        """Return the size so many steps on; None beyond the end."""
        if steps > self.steps or (self.times is not None and steps > self.times):
            return None
        size = rank + steps * (1.0 if self.ladder else self.step)
        last = len(self.ladder) - 1.0 if self.ladder else math.inf if self.until is None else self.until
        return round(size, 6) if size <= last + 1e-9 else None

    def label(self, rank: float) -> str:
        """Return what people call a size."""
        return self.ladder[int(rank)] if self.ladder else f"{rank:g}"


class NeedRules(BaseModel):
    """All rules of a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    needs: tuple[NeedRule, ...] = ()

    @model_validator(mode="after")
    def _names_differ(self) -> "NeedRules":
        names = [rule.name for rule in self.needs]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"names must differ; twice: {', '.join(twice)}")
        return self

    @classmethod
    def load(cls, path: Path | None = None) -> "NeedRules":
        """Read the YAML at `path`; None: the package's, which holds examples only. Raises BadInput."""
        source = path or Path(str(files("models") / "needs.yaml"))
        raw = read_yaml(source, "needs")
        try:
            return cls.model_validate(raw or {})
        except ValidationError as error:
            first = error.errors()[0]
            place = " → ".join(str(part) for part in first["loc"])
            raise BadInput(f"the needs in {source} are wrong: {place}: {first['msg']}") from error


@dataclass(frozen=True)
class Purchases:
    """Purchases of sizes as parallel arrays; `contact` and `item` are numbers of the caller's."""

    contact: Ints
    group: Ints
    """A (rule, size) of GrownNeeds."""
    item: Ints
    time: Floats
    """Epoch seconds."""


@dataclass(frozen=True)
class Needs:
    """Needs whose window has not closed, as parallel arrays, by contact, then by date."""

    contact: Ints
    target: Ints
    """The (rule, size) needed."""
    item: Ints
    """What was bought."""
    bought: Floats
    opens: Floats
    due: Floats
    closes: Floats

    def open(self, now: float) -> "Needs":
        """Return those whose window is open."""
        return self._at(np.flatnonzero(self.opens <= now))

    def __len__(self) -> int:
        return len(self.contact)

    def _at(self, rows: Ints) -> "Needs":
        return Needs(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


class GrownNeeds:
    """The rules against one catalogue: which items are which size, and which size follows which."""

    def __init__(self, rules: Sequence[NeedRule], catalogue: Catalogue) -> None:
        self.rules = tuple(rules)
        sizes: dict[tuple[int, float], list[int]] = {}
        for row, texts in enumerate(_texts(catalogue)) if rules else ():
            for number, rule in enumerate(rules):
                rank = rule.rank(texts)
                if rank is not None:
                    sizes.setdefault((number, round(rank, 6)), []).append(row)
        self.sizes = sorted(sizes)
        """(rule, size) by group."""
        self.rows = [np.array(sizes[size], dtype=np.int64) for size in self.sizes]
        """Catalogue rows of each group."""
        sold = catalogue.in_stock & ~catalogue.hidden
        self._sold = np.array([sold[rows].any() for rows in self.rows], dtype=np.bool_)
        self.groups_of: dict[str, list[int]] = {}
        for group, rows in enumerate(self.rows):
            for row in rows:
                self.groups_of.setdefault(str(catalogue.item_ids[row]), []).append(group)

    def rule(self, group: int) -> NeedRule:
        """Return the rule of a group."""
        return self.rules[self.sizes[group][0]]

    def label(self, group: int) -> str:
        """Return what people call the group's size."""
        return self.rule(group).label(self.sizes[group][1])

    @cached_property
    def following(self) -> Ints:
        """Group so many steps after each; -1: none, or nothing of it on the shelf. (groups, steps)."""
        known = {size: group for group, size in enumerate(self.sizes)}
        most = 0
        table = np.full((len(self.sizes), MOST_STEPS), -1, dtype=np.int64)
        for group, (number, rank) in enumerate(self.sizes):
            for step in range(MOST_STEPS):
                size = self.rules[number].after_steps(rank, step + 1)
                if size is None:
                    break
                table[group, step] = known.get((number, size), -1)
                most = max(most, step + 1)
        return table[:, :most]

    def of(self, bought: Purchases, now: float) -> Needs:
        """Return the needs that purchases lead to, those yet to come too; what was since bought is none.

        Of several purchases of a size the newest counts; a step is met by a purchase of its size since the
        step before was due. Of several ways to one size the one due first is kept.
        """
        held = _newest(bought, len(self.sizes))
        keys = held.contact * len(self.sizes) + held.group
        after, every, early, late = self.spans[:, held.group]
        parts = []
        for step in range(self.following.shape[1] if len(keys) else 0):
            target = self.following[held.group, step]
            due = held.time + after + step * every
            since = held.time if step == 0 else due - every
            wanted = held.contact * len(self.sizes) + target
            place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            met = (keys[place] == wanted) & (held.time[place] > since)
            rows = np.flatnonzero((target >= 0) & self._sold[target] & ~met & (now <= due + late))
            columns = (held.contact, target, held.item, held.time, due - early, due, due + late)
            parts.append([column[rows] for column in columns])
        if not parts:
            return Needs(*(np.empty(0, np.int64),) * 3, *(np.empty(0),) * 4)
        return _one_way(Needs(*(np.concatenate(column) for column in zip(*parts, strict=True))))

    @cached_property
    def spans(self) -> Floats:
        """after, every, early, late of each group in seconds: (4, groups)."""
        rules = [self.rules[number] for number, _ in self.sizes]
        spans = [(r.after, r.every or timedelta(0), r.early, r.late) for r in rules]
        return np.array([[one.total_seconds() for one in row] for row in spans]).reshape(-1, 4).T


def _newest(bought: Purchases, groups: int) -> Purchases:
    """Return the newest purchase of each (contact, group), sorted by them."""
    order = np.lexsort((bought.time, bought.group, bought.contact))
    key = bought.contact[order] * groups + bought.group[order]
    last = order[np.flatnonzero(np.r_[key[1:] != key[:-1], len(key) > 0][: len(key)])]
    return Purchases(bought.contact[last], bought.group[last], bought.item[last], bought.time[last])


def _one_way(needs: Needs) -> Needs:
    """Keep of each (contact, target) the need due first; order by contact and date."""
    order = np.lexsort((-needs.bought, needs.due, needs.target, needs.contact))
    contact, target = needs.contact[order], needs.target[order]
    first = np.r_[True, (contact[1:] != contact[:-1]) | (target[1:] != target[:-1])][: len(order)]
    kept = order[first]
    return needs._at(kept[np.lexsort((needs.due[kept], needs.contact[kept]))])


def _texts(catalogue: Catalogue) -> list[dict[str, str]]:
    columns = (catalogue.item_ids, catalogue.paths, catalogue.titles, catalogue.brands)
    return [
        dict(zip(GLOBS, (str(value or "") for value in row), strict=True))
        for row in zip(*columns, strict=True)
    ]


def _compiled(glob: str) -> re.Pattern[str]:
    pattern = "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in glob)
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)
