"""What taking events in costs: Complete Journey, and the same with its households replicated.

    python -m benchmarks.ingest --data complete-journey [--replicate 4] [--json OUT]

Each size goes into an empty home: validated, without duplicates, by day. `again_seconds` is the source once
more, when all of it is there. The first size warms the page cache; memory is the process's peak so far.
"""

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks._report import Stopwatch, options, peak_mb, show, write
from features.events.ingest import ingest
from nextbest.settings import Settings

NOW = datetime(2018, 1, 2, tzinfo=UTC)


def main() -> None:
    """Measure and report."""
    parser = options((__doc__ or "").splitlines()[0], "complete-journey")
    parser.add_argument(
        "--replicate", type=int, default=4, help="how many times the households, for the growth"
    )
    given = parser.parse_args()
    rows = {f"{given.data} x{copies}": measure(given.data, copies) for copies in sorted({1, given.replicate})}
    show(rows, ("rows", "seconds", "again_seconds", "rows_per_second", "lake_mb", "peak_mb"))
    single, whole = rows[f"{given.data} x1"], list(rows.values())[-1]
    growth = (whole["seconds"] / single["seconds"]) / (whole["rows"] / single["rows"])
    print(f"\nseconds a row, x{given.replicate} against x1: {growth:.2f}")
    figures = single | {"growth": growth, "sizes": rows}
    write(given.json, figures, {}, given.data, [], replicate=given.replicate)


def measure(source: str, copies: int) -> dict[str, Any]:
    """Take a source in twice and return the figures."""
    with TemporaryDirectory() as folder:
        home = Settings(home=Path(folder))
        watch = Stopwatch()
        taken = ingest(home, source, now=NOW, replicate=copies)
        seconds = watch.seconds
        watch = Stopwatch()
        again = ingest(home, source, now=NOW, replicate=copies)
        if again.stored or taken.stored != taken.rows:
            raise SystemExit(f"stored {taken.stored} of {taken.rows}, then {again.stored} again")
        lake = sum(path.stat().st_size for path in home.lake.rglob("*.parquet"))
        return {
            "rows": taken.rows,
            "seconds": seconds,
            "again_seconds": watch.seconds,
            "rows_per_second": round(taken.rows / seconds),
            "lake_mb": round(lake / 2**20, 1),
            "peak_mb": peak_mb(),
        }


if __name__ == "__main__":
    main()
