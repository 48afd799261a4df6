"""What people see: progress bars, tables, JSON."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
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

PLAIN_WIDTH = 150
"""Columns where the output is a file or a pipe: tables are not squeezed into eighty."""


def _console(stderr: bool = False) -> Console:
    found = Console(stderr=stderr)
    return (
        found if found.is_terminal or "COLUMNS" in os.environ else Console(stderr=stderr, width=PLAIN_WIDTH)
    )


console = _console()
errors = _console(stderr=True)


@contextmanager
def progress() -> Iterator[Report]:
    """Yield a reporter that draws a bar for each stage; bars go to stderr, so that stdout stays data."""
    name = TextColumn("{task.description:<34}")
    columns = (SpinnerColumn(), name, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
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
    kept = ((k.replace("_", " "), _readable(v)) for k, v in values.items() if v not in (None, "", {}, [], ()))
    table(title, ("what", "value"), kept)


def _readable(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_readable(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(_readable(v) for v in value)
    return str(value)


def say(text: str) -> None:
    """Print a line for people."""
    console.print(text, highlight=False)


def fail(message: str, code: int = 2) -> typer.Exit:
    """Print what was wrong to stderr and return the exit to raise."""
    errors.print(f"[bold red]error:[/] {escape(message)}", highlight=False)
    return typer.Exit(code)
