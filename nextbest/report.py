"""`nextbest report …`: what was learned and how it holds, as tables for people and JSON for machines."""

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(no_args_is_help=True, help="Reports on what was learned and how well it still holds.")


@app.callback()
def reports() -> None:
    """Reports on what was learned and how well it still holds."""


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
    home: Annotated[
        Path | None, typer.Option("--home", help="Folder of all state; default NEXTBEST_HOME or .nextbest.")
    ] = None,
    now: Annotated[
        str | None, typer.Option("--now", help="The moment to take for the present (ISO 8601).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Which steps between orders lead to one: support, conversion, lift over the base rate."""
    from nextbest import _paths_report as shown
    from nextbest import _screen as screen
    from nextbest.cli import door, read_settings

    with door() as progress:
        report = shown.paths_report(read_settings(home, now), category, least, by, top, progress)
    if as_json:
        screen.show_json(report)
    else:
        shown.show_paths(report)
