"""The paths that end in orders more often than others, and less often."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nextbest import _screen as screen
from nextbest.errors import BadInput
from nextbest.progress import Progress
from nextbest.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

SIGNIFICANT = 0.05
"""False discovery rate up to which a path is shown."""
HEADER = ("path", "order of", "paths", "contacts", "conversion", "95 % interval", "base", "lift", "q-value")


def paths_report(
    settings: Settings, category: str | None, least: int, by: str, top: int, progress: Progress
) -> dict[str, Any]:
    """Count the paths up to now; return the facts, and `best` and `worst` of `any_order` and `by_category`.

    Only rows beyond chance. `category`: that one alone, and what lies below it. Raises NotReady, BadInput.
    """
    from models.paths import Paths, PathsConfig
    from training._walked import walked

    now = settings.present()
    config = PathsConfig(least=least)
    model = Paths.learn(walked(settings, now), config, progress=progress, until=now.timestamp())
    found = model.table()
    own = found["category"].notna()
    facts = {
        "paths": int(model.tree.paths[0]),
        "conversion": float(model.tree.ordered[0] / model.tree.paths[0]),
        "horizon_days": config.horizon_days,
        "least": least,
        "sequences": len(model.tree) - 1,
    }
    parts = {"any_order": found[~own], "by_category": found[own]}
    if category is not None:
        parts = {"by_category": _within(found[own], category, model.categories)}
    return {"facts": facts, **{name: _sides(part, by, top) for name, part in parts.items()}}


def _within(found: "pd.DataFrame", category: str, known: Sequence[str]) -> "pd.DataFrame":
    inside = [name for name in known if name == category or name.startswith(f"{category}/")]
    if not inside:
        near = difflib.get_close_matches(category, known, 3) or sorted(known)[:5]
        raise BadInput(f"no category {category!r} was ordered after a path; known: {', '.join(near)}, …")
    return found[found["category"].isin(inside)]


def _sides(found: "pd.DataFrame", by: str, top: int) -> dict[str, list[dict[str, Any]]]:
    held = found[found["q_value"] <= SIGNIFICANT].sort_values([by, "paths"], ascending=False, kind="stable")
    above, below = held[held["lift"] > 1], held[held["lift"] < 1][::-1]
    return {"best": _records(above.head(top)), "worst": _records(below.head(top))}


def _records(rows: "pd.DataFrame") -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]


def show_paths(report: Mapping[str, Any]) -> None:
    """Print a table for each part and side that holds anything."""
    facts, shown = report["facts"], False
    screen.say(
        f"{facts['paths']:,} paths, {facts['conversion']:.1%} with an order within {facts['horizon_days']:g} "
        f"days; {facts['sequences']:,} sequences of steps on at least {facts['least']} of them"
    )
    for part, title in (("any_order", "any order"), ("by_category", "by category of the order")):
        for side, meaning in (("best", "more often than others"), ("worst", "less often than others")):
            rows = report.get(part, {}).get(side, [])
            if rows:
                screen.table(f"paths that end in an order {meaning}: {title}", HEADER, map(_cells, rows))
                shown = True
    if not shown:
        screen.say("none of them ends in an order more or less often than others beyond chance")


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    percent: Callable[[float], str] = "{:.1%}".format
    return (
        row["path"],
        row["category"] or "anything",
        f"{row['paths']:,}",
        f"{row['contacts']:,}",
        percent(row["conversion"]),
        f"{percent(row['low'])} to {percent(row['high'])}",
        percent(row["base"]),
        f"{row['lift']:.2f}",
        f"{row['q_value']:.2g}",
    )
