"""The lifecycle report as people see it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextbest import _screen as screen
from nextbest._moves_report import show_months, show_moves

if TYPE_CHECKING:
    from training.lifecycle import Cycle, LifecycleReport

STAGES = ("stage", "contacts", "share", "mean index", "orders a contact", "spend")
CYCLES = (
    "first seen by", "contacts", "have ordered", "a quarter\nwithin days", "half\nwithin days", "95 %",
    "three quarters\nwithin days",
)  # fmt: skip
TITLE = "Lifecycle stages month by month"


def show_lifecycle(report: "LifecycleReport", plot: Path | None = None) -> None:
    """Print stages, months, moves, the length of the cycle, and where the cut-offs come from."""
    screen.table("lifecycle stages now", STAGES, map(_stage, report.stages.to_dict("records")))
    show_months(report.moves, "contacts by stage at the ends of months, and now", "stage")
    show_moves(report.moves)
    title = "days from the first touch to the first order (who has not ordered yet counts as waiting)"
    screen.table(title, CYCLES, map(_cycle, report.cycles))
    for line in notes(report):
        screen.say(line)
    if plot:
        screen.say(f"drawn: {plot}")


def notes(report: "LifecycleReport") -> list[str]:
    """Return what has to be known to read the figures."""
    facts = report.facts
    lines = [
        f"{half} the first order: {facts[f'contacts_{half}_first_order']:,} contacts; stages begin at "
        f"{', '.join(f'{name} {at:g}' for name, at in facts['cutoffs'][half].items())} "
        f"({facts['origin'][half]})"
        for half in facts["cutoffs"]
    ]
    if facts["cutoffs_wanted"] == "learned" and facts["model_version"] is None:
        lines.append("cutoffs: learned, but there is no lifecycle champion; nextbest train lifecycle")
    return lines


def _stage(row: Mapping[Any, Any]) -> tuple[str, ...]:
    return (
        row["stage"], f"{row['contacts']:,}", f"{row['share']:.1%}", f"{row['mean_index']:.1f}",
        f"{row['mean_orders']:,.1f}", f"{row['spend']:,.0f}",
    )  # fmt: skip


def _cycle(cycle: "Cycle") -> tuple[str, ...]:
    low, high = cycle.median_interval
    interval = "" if cycle.median_days is None else f"{_days(low)} to {_days(high)}"
    share = f"{cycle.ordered:,} ({cycle.ordered / cycle.contacts:.1%})"
    parts = (_days(cycle.quarter_days), _days(cycle.median_days), interval, _days(cycle.three_quarters_days))
    return (cycle.touch, f"{cycle.contacts:,}", share, *parts)


def _days(days: float | None) -> str:
    return "not seen" if days is None else f"{days:,.1f}"
