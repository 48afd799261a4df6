"""`nextbest report …`: what was learned and how it holds, as tables for people and JSON for machines."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nextbest import _screen as screen

if TYPE_CHECKING:
    from training.coverage import Coverage

app = typer.Typer(no_args_is_help=True, help="Reports on what was learned and how well it still holds.")

Now = Annotated[str | None, typer.Option("--now", help="The moment to take for the present (ISO 8601).")]
Home = Annotated[Path | None, typer.Option("--home", help="Folder of all state.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
SHOWN = 15


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
    if as_json:
        screen.show_json({**about, **found.figures, "rules_by_times_fired": found.rules.to_dict("records")})
    else:
        _show(about, found)


def _show(about: dict[str, Any], found: "Coverage") -> None:
    span = f"{_day(about['since'])} to {_day(about['until'])}"
    screen.facts(f"rules of nextbest-basket version {about['version']} on baskets of {span}", found.figures)
    for title, rules in (("fired most", found.rules), ("stopped holding", found.stopped)):
        if len(rules):
            header = ("who buys", "buys", "promised", "realised", "95 %", "fired", "base rate", "state")
            screen.table(
                f"{title} ({len(rules):,} in all)", header, map(_cells, rules.head(SHOWN).to_dict("records"))
            )


def _cells(rule: Mapping[Any, Any]) -> tuple[str, ...]:
    antecedent = " + ".join(filter(None, (rule["item_1"], rule["item_2"], rule["item_3"])))
    return (
        antecedent, rule["consequent"], f"{rule['promised']:.3f}", f"{rule['realised']:.3f}",
        f"{rule['low']:.3f} to {rule['high']:.3f}", f"{rule['fired']:,}",
        f"{rule['base_rate']:.4f}", rule["state"],
    )  # fmt: skip


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"
