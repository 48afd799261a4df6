"""The RFM report as people see it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextbest import _screen as screen
from nextbest._moves_report import show_months, show_moves

if TYPE_CHECKING:
    from training.rfm_map import RfmReport

SEGMENTS = ("segment", "contacts", "share", "orders a contact", "spend a contact", "spend")
FALLING = ("contact", "a month ago", "now", "orders", "last order, days ago", "past spend", "expected spend")
TITLE = "RFM segments month by month"


def show_rfm(report: "RfmReport", plot: Path | None = None) -> None:
    """Print segments, months, moves, who fell, and the two dimensions crossed."""
    screen.table(
        f"RFM segments now (class edges of nextbest-rfm version {report.facts['model_version']})",
        SEGMENTS,
        map(_segment, report.segments.to_dict("records")),
    )
    show_months(report.moves, "contacts by segment at the ends of months, and now", "segment")
    show_moves(report.moves)
    _show_falling(report)
    _show_crossed(report)
    if plot:
        screen.say(f"drawn: {plot}")


def _segment(row: Mapping[Any, Any]) -> tuple[str, ...]:
    return (
        row["segment"], f"{row['contacts']:,}", f"{row['share']:.1%}", f"{row['mean_orders']:,.1f}",
        f"{row['mean_spend']:,.2f}", f"{row['spend']:,.0f}",
    )  # fmt: skip


def _show_falling(report: "RfmReport") -> None:
    facts = report.facts
    since = f"{facts['month_ago']:%Y-%m-%d}"
    if not facts["fell"]:
        screen.say(f"nobody is in a worse segment than on {since}")
        return
    days = facts["value_horizon_days"]
    header = (*FALLING[:-1], f"{FALLING[-1]}, {days:g} days" if days else FALLING[-1])
    shown = "" if len(report.falling) == facts["fell"] else f", the dearest {len(report.falling)}"
    rows = map(_fallen, report.falling.to_dict("records"))
    screen.table(f"{facts['fell']:,} contacts in a worse segment than on {since}{shown}", header, rows)
    worth = f"they have spent {facts['past_spend_of_fallen']:,.0f}"
    if facts["expected_spend_of_fallen"] is not None:
        worth += f" and are expected to spend {facts['expected_spend_of_fallen']:,.0f}"
        worth += f" in {days:g} days" if days else ""
    screen.say(worth)
    if facts["value_why_none"]:
        screen.say(facts["value_why_none"])


def _fallen(row: Mapping[Any, Any]) -> tuple[str, ...]:
    expected = row["expected_spend"]
    return (
        row["contact_id"], row["before"], row["now"], f"{row['orders']:,.0f}", f"{row['recency_days']:,.0f}",
        f"{row['spend']:,.2f}", "" if expected != expected else f"{expected:,.2f}",
    )  # fmt: skip


def _show_crossed(report: "RfmReport") -> None:
    one, other = report.facts["cross"].split(",")
    cells = report.crossed.set_index([one, other])
    classes = sorted(cells.index.unique(0), reverse=True)
    header = (f"{one} \\ {other}", *(str(c) for c in reversed(classes)))
    rows = [(str(a), *(_cell(cells.loc[(a, b)]) for b in reversed(classes))) for a in classes]
    screen.table(f"{one} by {other} (5 best): contacts, share of those with orders, spend", header, rows)


def _cell(cell: Any) -> str:
    if not cell["contacts"]:
        return ""
    return f"{cell['contacts']:,.0f}  {cell['share']:.1%}\n{cell['spend']:,.0f}"
