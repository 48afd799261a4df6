"""What every benchmark does with its figures: print a table, and write JSON where one is asked for."""

import argparse
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from nextbest.errors import BadInput, NextbestError

Figures = Mapping[str, Any]


def options(description: str, data: str) -> argparse.ArgumentParser:
    """Return a parser with --data, --seed and --json."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", required=True, help=data)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    return {
        "cpus": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def peak_mb() -> float:
    """Return the most memory this process has held so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Return the seconds so far."""
        return round(time.perf_counter() - self._start, 2)


def show(rows: Mapping[str, Figures], columns: Sequence[str]) -> None:
    """Print a row a model, figures to four places."""
    width = max(map(len, rows), default=0) + 2
    print(" " * width + "".join(f"{column:>20}" for column in columns))
    for name, figures in rows.items():
        print(name.ljust(width) + "".join(f"{_cell(figures.get(column)):>20}" for column in columns))


def span(
    data: str, end: str | None, days: int | None, known: Mapping[str, tuple[str, int]], option: str
) -> tuple[str, int]:
    """Return the last day learned from and the days after it, as asked or as known for the data.

    Raises BadInput where nothing says them, or they are none.
    """
    usual = next((told for name, told in known.items() if name in Path(data).name), (None, None))
    end, days = end or usual[0], usual[1] if days is None else days
    if end is None or days is None:
        raise BadInput(f"say --calibration-end YYYY-MM-DD and {option} N for {data}")
    try:
        datetime.fromisoformat(end)
    except ValueError:
        raise BadInput(f"--calibration-end is {end!r}; it must be a date such as 1997-09-30") from None
    if days < 1:
        raise BadInput(f"{option} is {days}; it must be 1 or more")
    return end, days


def run(main: Callable[[], None]) -> None:
    """Run a benchmark; what was asked wrongly is one line and exit code 2."""
    try:
        main()
    except NextbestError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def write(
    path: Path | None,
    figures: Figures,
    peers: Mapping[str, Figures],
    data: Any,
    seeds: Sequence[int],
    **more: Any,
) -> None:
    """Write the figures, if a path was given."""
    if path is None:
        return
    whole = {
        "figures": figures,
        "peers": peers,
        "data": data,
        "seeds": list(seeds),
        "machine": machine(),
        **more,
    }
    path.write_text(json.dumps(whole, indent=1, default=float))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_cell(part) for part in value) + "]"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
