"""The demand outlook as people see it, and as a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.events._files import written_aside
from nextbest import _screen as screen
from nextbest.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

    from training.demand import DemandReport

SUFFIX = ".parquet"


def demand_file(out: Path | None) -> Path | None:
    """Return the file to write; raises BadInput for one that is not Parquet."""
    if out is not None and out.suffix != SUFFIX:
        raise BadInput(f"{out} must end in {SUFFIX}")
    return out


def rows_of(report: "DemandReport", by: str) -> "pd.DataFrame":
    """Return the rows a product or a category."""
    return report.products if by == "product" else report.categories


def write_demand(report: "DemandReport", by: str, out: Path) -> None:
    """Write all rows as Parquet; whole or not at all."""
    with written_aside(out) as aside:
        rows_of(report, by).to_parquet(aside, index=False)


def plain(report: "DemandReport", by: str, top: int) -> dict[str, Any]:
    """Return the report for machines: the facts, and the first `top` rows; null where unknown."""
    rows = rows_of(report, by).head(top)
    records = rows.astype(object).where(rows.notna(), None).to_dict("records")
    return {"facts": report.facts, "by": by, "rows": records}


def show_demand(report: "DemandReport", by: str, top: int) -> None:
    """Print the rows most expected, and how the same forecast before turned out."""
    facts, rows = report.facts, rows_of(report, by)
    more = f" (the first {top} of {len(rows):,})" if len(rows) > top else ""
    table = _products if by == "product" else _categories
    table(f"expected purchases of the coming {facts['days']} days by {by}{more}", rows.head(top))
    screen.say(
        f"in all {facts['expected']:,.0f} lines expected, after {facts['last']:,.0f} in the last "
        f"{facts['days']} days"
    )
    for line in _before(facts):
        screen.say(line)


def _products(title: str, rows: "pd.DataFrame") -> None:
    cells = (
        (row["item_id"], row["title"], row["category"], f"{row['expected']:,.1f}", f"{row['last']:,.0f}")
        for row in rows.to_dict("records")
    )
    screen.table(title, ("item", "title", "category", "expected", "last"), cells)


def _categories(title: str, rows: "pd.DataFrame") -> None:
    header = (
        "category", "expected", "last", "a forecast ago: expected", "came", "WAPE", "bias", "naive WAPE",
        "naive bias",
    )  # fmt: skip
    cells = (
        (
            row["category"], f"{row['expected']:,.0f}", f"{row['last']:,.0f}",
            *(_number(row[name]) for name in ("expected_before", "actual_before")),
            _share(row["wape"]), _share(row["bias"], "+"),
            _share(row["naive_wape"]), _share(row["naive_bias"], "+"),
        )
        for row in rows.to_dict("records")
    )  # fmt: skip
    screen.table(title, header, cells)


def _before(facts: Mapping[str, Any]) -> list[str]:
    before = facts["before"]
    if before is None:
        return ["the orders reach not far enough back to see how the same forecast turned out before"]
    lines = [
        f"the same forecast made on {before['made_at'][:10]}: {before['expected']:,.0f} lines expected, "
        f"{before['actual']:,.0f} came"
    ]
    for level in ("products", "categories"):
        error = before[level]
        lines.append(
            f"  by {level}: WAPE {_share(error['wape'])}, bias {_share(error['bias'], '+')}; the last "
            f"{facts['days']} days again would have had {_share(error['naive_wape'])} and "
            f"{_share(error['naive_bias'], '+')}"
        )
    return lines


def _share(value: float | None, sign: str = "") -> str:
    return "" if value is None or value != value else f"{value:{sign}.1%}"


def _number(value: float) -> str:
    return "" if value != value else f"{value:,.0f}"
