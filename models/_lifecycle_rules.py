"""The rules of engagement index and lifecycle, read from YAML: parts of the index, cut-offs of the stages."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nextbest.errors import BadInput
from nextbest.yaml_file import read_yaml

BEFORE, AFTER = "before", "after"
HALVES = (BEFORE, AFTER)
VISITOR, LEAD, ENGAGED, SALES_READY = BEFORE_STAGES = ("visitor", "lead", "engaged", "sales_ready")
"""Before the first order, upwards."""
LOST, LEAVING, SLIPPING, ACTIVE, LOYAL = AFTER_LADDER = ("lost", "leaving", "slipping", "active", "loyal")
"""After it, upwards; "new" stands beside this ladder until it is over."""
NEW = "new"
STAGES = (*BEFORE_STAGES, NEW, LOYAL, ACTIVE, SLIPPING, LEAVING, LOST)
"""Every stage, in the order of a life: the first half upwards, the second from the best to the worst."""
BEST_FIRST = (LOYAL, ACTIVE, NEW, SLIPPING, LEAVING, LOST, SALES_READY, ENGAGED, LEAD, VISITOR)
"""For colours and tables: each half from its best stage to its worst."""

BeforePart = Literal["activity", "freshness", "breadth", "points", "carts", "forms"]
AfterPart = Literal["cadence", "frequency", "trend", "responses", "activity"]
Cutoff = Annotated[float, Field(ge=0, le=100)]
Times = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Half = TypeVar("Half", bound="_Half")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Part(_Strict):
    """One part of an index."""

    part: str
    weight: float = Field(ge=0, allow_inf_nan=False)
    half: float = Field(gt=0, allow_inf_nan=False)
    """Where it is worth half."""
    why: str = ""
    """A line for the people who read the index."""


class _PartBefore(Part):
    part: BeforePart


class _PartAfter(Part):
    part: AfterPart


class New(_Strict):
    """Who counts as new."""

    days: float = Field(30, ge=0, allow_inf_nan=False)
    orders: int = Field(2, ge=1)


class _Half(_Strict):
    """What both halves have: parts, and the cut-offs of the stages above the lowest, upwards."""

    ladder: ClassVar[tuple[str, ...]]

    index: tuple[Part, ...]
    stages: Mapping[str, Cutoff]
    learned: Mapping[str, Times]

    @model_validator(mode="after")
    def _sound(self) -> "_Half":
        names = [part.part for part in self.index]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"index: a part counts once; twice: {', '.join(twice)}")
        if sum(part.weight for part in self.index) <= 0:
            raise ValueError("index: at least one part needs a weight above 0")
        for what, given in (("stages", self.stages), ("learned", self.learned)):
            if set(given) != set(self.ladder):
                raise ValueError(f"{what}: give {', '.join(self.ladder)}; got {', '.join(given) or 'none'}")
            for low, high in pairwise(self.ladder):
                if given[low] > given[high]:
                    raise ValueError(f"{what}: {low} ({given[low]:g}) is above {high} ({given[high]:g})")
        return self

    @property
    def cutoffs(self) -> tuple[float, ...]:
        """Return where each stage of the ladder begins, upwards."""
        return tuple(self.stages[name] for name in self.ladder)

    def cut_at(self: Half, cutoffs: Sequence[float]) -> Half:
        """Return the half with other cut-offs."""
        return self.model_copy(update={"stages": dict(zip(self.ladder, cutoffs, strict=True))})


class Before(_Half):
    """Before the first order."""

    ladder: ClassVar[tuple[str, ...]] = (ENGAGED, SALES_READY)

    index: tuple[_PartBefore, ...]
    lead: Literal["identified", "form", "either", "both"] = "either"
    """What makes a lead of a visitor."""


class After(_Half):
    """After the first order."""

    ladder: ClassVar[tuple[str, ...]] = (LEAVING, SLIPPING, ACTIVE, LOYAL)

    index: tuple[_PartAfter, ...]
    typical_gap_days: float = Field(30, gt=0, allow_inf_nan=False)
    """Between orders, where a contact has no cadence of its own; weighs as much as one gap of its own."""
    least_gap_days: float = Field(7, gt=0, allow_inf_nan=False)
    new: New = New()
    loyal_orders: int = Field(4, ge=1)
    """Whoever has fewer is active at best."""


class LifecycleRules(_Strict):
    """Both halves, and whether the cut-offs are those given here or learned ones."""

    cutoffs: Literal["given", "learned"] = "given"
    before: Before
    after: After

    @classmethod
    def load(cls, path: Path | None = None) -> "LifecycleRules":
        """Read the YAML at `path`; None: the rules that come with the package. Raises BadInput."""
        source = path or Path(str(files("models") / "lifecycle.yaml"))
        raw = read_yaml(source, "lifecycle rules")
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise BadInput(f"the lifecycle rules in {source} are wrong: {_explain(raw, error)}") from error

    def half(self, name: str) -> Before | After:
        """Return one half by its name."""
        return self.before if name == BEFORE else self.after


def _explain(raw: Any, error: ValidationError) -> str:
    """Name the part, not its number."""
    first = error.errors()[0]
    place = [str(step) for step in first["loc"]]
    if len(place) > 2 and place[1] == "index" and isinstance(number := first["loc"][2], int):
        part = raw[place[0]]["index"][number]
        name = part.get("part") if isinstance(part, dict) else None
        place[2] = str(name or f"number {number + 1}")
    message = first["msg"].removeprefix("Value error, ")
    return f"{' → '.join(place)}: {message}" if place else message
