"""`nextbest report …`: what was learned and how it holds, as tables for people and JSON for machines."""

import typer

app = typer.Typer(no_args_is_help=True, help="Reports on what was learned and how well it still holds.")


@app.callback()
def reports() -> None:
    """Reports on what was learned and how well it still holds."""
