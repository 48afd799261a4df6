"""`nextbest report …`: what was learned and how it holds, as tables for people and JSON for machines."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nextbest import _screen as screen
from nextbest.settings import Settings

if TYPE_CHECKING:
    from training.coverage import Coverage

app = typer.Typer(no_args_is_help=True, help="Reports on what was learned and how well it still holds.")

Now = Annotated[str | None, typer.Option("--now", help="The moment to take for the present (ISO 8601).")]
Home = Annotated[Path | None, typer.Option("--home", help="Folder of all state.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
SHOWN = 15
MOST = 1_000
"""Rules in the JSON, those that fired most."""


@app.callback()
def reports() -> None:
    """Reports on what was learned and how well it still holds."""


@app.command("coverage")
def rules_coverage(
    days: Annotated[
        int | None, typer.Option(min=1, help="Only the last so many days of baskets; default all since.")
    ] = None,
    home: Home = None,
    now: Now = None,
    as_json: Json = False,
) -> None:
    """Compare the basket champion's rules with the baskets bought since it learned."""
    from nextbest.cli import door, read_settings

    with door(show_bars=False):
        from training.coverage import champion_coverage

        settings = read_settings(home, now)
        about, found = champion_coverage(settings, settings.present(), days)
        titles = _titles(settings)
    if as_json:
        most, stopped = (rules.to_dict("records") for rules in (found.rules.head(MOST), found.stopped))
        screen.show_json({**about, **found.figures, "fired_most": most, "stopped": stopped})
    else:
        _show(about, found, titles)


def _titles(settings: Settings) -> dict[str, str]:
    from features.events.lake import Lake

    items = Lake(settings.lake).items()[["item_id", "title"]].dropna()
    return dict(zip(items["item_id"].astype(str), items["title"].astype(str), strict=True))


def _show(about: dict[str, Any], found: "Coverage", titles: Mapping[str, str]) -> None:
    span = f"{_day(about['since'])} to {_day(about['until'])}"
    screen.facts(f"rules of nextbest-basket version {about['version']} on baskets of {span}", found.figures)
    for title, rules in (("fired most", found.rules), ("stopped holding", found.stopped)):
        if len(rules):
            header = ("who buys", "buys", "promised", "realised", "95 %", "fired", "base rate", "state")
            screen.table(
                f"{title} ({len(rules):,} in all)",
                header,
                (_cells(rule, titles) for rule in rules.head(SHOWN).to_dict("records")),
            )


def _cells(rule: Mapping[Any, Any], titles: Mapping[str, str]) -> tuple[str, ...]:
    items = [item for item in (rule["item_1"], rule["item_2"], rule["item_3"]) if item]
    antecedent = " + ".join(titles.get(item, item) for item in items)
    return (
        antecedent, titles.get(rule["consequent"], rule["consequent"]),
        f"{rule['promised']:.3f}", f"{rule['realised']:.3f}",
        f"{rule['low']:.3f} to {rule['high']:.3f}", f"{rule['fired']:,}",
        f"{rule['base_rate']:.4f}", rule["state"],
    )  # fmt: skip


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"


@app.command()
def paths(
    category: Annotated[
        str | None, typer.Option(help="Only orders of this category and those below it.")
    ] = None,
    least: Annotated[int, typer.Option(help="Paths that must have walked a sequence of steps.", min=1)] = 20,
    by: Annotated[
        Literal["lift", "conversion"], typer.Option(help="What the tables are sorted by.")
    ] = "lift",
    top: Annotated[int, typer.Option(help="Rows of each table at most.", min=1)] = 15,
    home: Home = None,
    now: Now = None,
    as_json: Json = False,
) -> None:
    """Which steps between orders lead to one: support, conversion, lift over the base rate."""
    from nextbest import _paths_report as shown
    from nextbest.cli import door, read_settings

    with door() as progress:
        report = shown.paths_report(read_settings(home, now), category, least, by, top, progress)
    if as_json:
        screen.show_json(report)
    else:
        shown.show_paths(report)
