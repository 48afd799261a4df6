"""What people see: progress bars, tables, JSON."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from nextbest.progress import Progress as Report

console = Console()
errors = Console(stderr=True)


@contextmanager
def progress() -> Iterator[Report]:
    """Yield a reporter that draws a bar for each stage; bars go to stderr, so that stdout stays data."""
    columns = (
        SpinnerColumn(), TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=errors) as bars:
        tasks: dict[str, Any] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                for earlier in tasks.values():
                    bars.stop_task(earlier)
                tasks[stage] = bars.add_task(stage, total=total or None)
            bars.update(tasks[stage], completed=done, total=total or None)

        yield report


def show_json(value: Any) -> None:
    """Print JSON for machines."""
    sys.stdout.write(json.dumps(value, indent=2, default=str, ensure_ascii=False) + "\n")


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table for people."""
    drawn = Table(title=title, title_justify="left", header_style="bold")
    for name in header:
        drawn.add_column(name, overflow="fold")
    for row in rows:
        drawn.add_row(*("" if cell is None else str(cell) for cell in row))
    console.print(drawn)


def facts(title: str, values: Mapping[str, Any]) -> None:
    """Print names and values as a table of two columns."""
    table(title, ("what", "value"), ((k, v) for k, v in values.items() if v not in (None, "", {}, [])))


def say(text: str) -> None:
    """Print a line for people."""
    console.print(text, highlight=False)


def fail(message: str, code: int = 2) -> typer.Exit:
    """Print what was wrong to stderr and return the exit to raise."""
    errors.print(f"[bold red]error:[/] {message}", highlight=False)
    return typer.Exit(code)
