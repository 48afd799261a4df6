"""`nextbest triggers …`: looking at everyone by hand, and taking up what webhooks never took."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(no_args_is_help=True, help="Events of contacts that change: sweeps and webhooks.")

Now = Annotated[str | None, typer.Option("--now", help="The moment to take for the present (ISO 8601).")]
Home = Annotated[Path | None, typer.Option("--home", help="Folder of all state.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@app.command()
def sweep(home: Home = None, now: Now = None, as_json: Json = False) -> None:
    """Look at everyone by the trigger rules; what changed since the last time makes events."""
    from nextbest.cli import door, read_settings, show

    with door() as report:
        from serving.segments import profiles
        from serving.trigger_jobs import sweep_everyone

        settings = read_settings(home, now)

        def everyone(moment: datetime, columns: Sequence[str]) -> "Iterator[pd.DataFrame]":
            yield from profiles(settings, moment, None, columns, report)

        done = sweep_everyone(settings, everyone, settings.present())
    show(done, as_json, "swept")


@app.command()
def redeliver(home: Home = None, as_json: Json = False) -> None:
    """Deliver what was given up (dead-letter/webhooks.jsonl) again, for the webhooks that are set."""
    from nextbest.cli import door, read_settings, show

    with door(show_bars=False):
        from serving.trigger_jobs import redeliver as take_up

        done = take_up(read_settings(home, None))
    show(done, as_json, "taken up")
