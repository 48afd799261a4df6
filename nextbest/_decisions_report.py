"""The decision report as people see it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nextbest import _screen as screen

if TYPE_CHECKING:
    from training.decisions import DecisionReport, Outcome

HEADER = (
    "answers", "shown", "viewed", "clicked", "click rate (95 %)", "bought after", "conversion (95 %)",
    "revenue (95 %)", "assisted",
)  # fmt: skip
MOST = 20
"""Rows of each table at most."""
NO_FALLBACK = "(first choice)"
NO_VERSION = "(none)"


def show_decisions(report: "DecisionReport") -> None:
    """Print the whole, a table for each group, and what the figures leave out."""
    facts, total = report.facts, report.total
    if not total.answers:
        screen.say("no answer is in the decision log for that span; the service writes one for each it gives")
        return
    screen.table("all answers", ("", *HEADER), [("", *_cells(total))])
    for name, outcomes in report.groups.items():
        rows = ((_name(name, outcome), *_cells(outcome)) for outcome in outcomes[:MOST])
        more = f" (the first {MOST} of {len(outcomes)})" if len(outcomes) > MOST else ""
        screen.table(f"by {name.replace('_', ' ')}{more}", (name.replace("_", " "), *HEADER), rows)
    for line in notes(facts, total):
        screen.say(line)


def notes(facts: Mapping[str, Any], total: "Outcome") -> Sequence[str]:
    """Return what has to be known to read the figures."""
    why = ", ".join(f"{reason} {share:.1%}" for reason, share in facts["fallback_why"].items())
    lines = [
        f"fell back: {facts['fallback_share']:.1%} of answers{f' ({why})' if why else ''}",
        f"explored: {facts['explored_answers_share']:.1%} of answers asked for it, "
        f"{facts['explored_items_share']:.1%} of items shown by chance",
    ]
    if total.click_rate is None:
        lines.append("no recommendation_viewed came for these answers, so there is no click rate")
    if facts["clicks_with_open_window"]:
        lines.append(
            f"{facts['clicks_with_open_window']:,} clicked items are younger than {facts['window_days']:g} "
            "days: their conversion may still rise"
        )
    if facts["views_of_no_answer"] or facts["clicks_of_no_answer"]:
        lines.append(
            f"{facts['views_of_no_answer']:,} views and {facts['clicks_of_no_answer']:,} clicks name no "
            "answer of the span, or no item of it"
        )
    return lines


def _name(by: str, outcome: "Outcome") -> str:
    return outcome.name or {"fallback": NO_FALLBACK, "model_version": NO_VERSION}.get(by, "")


def _cells(outcome: "Outcome") -> tuple[str, ...]:
    low, high = outcome.revenue_interval
    return (
        f"{outcome.answers:,}", f"{outcome.shown:,}", f"{outcome.viewed:,}", f"{outcome.clicked:,}",
        _rate(outcome.click_rate, outcome.click_interval), f"{outcome.converted:,}",
        _rate(outcome.conversion_rate, outcome.conversion_interval),
        f"{outcome.revenue:,.2f} ({low:,.0f} to {high:,.0f})" if outcome.revenue else "0",
        f"{outcome.assisted:,} ({outcome.assisted_revenue:,.2f})" if outcome.assisted else "0",
    )  # fmt: skip


def _rate(rate: float | None, interval: tuple[float, float] | None) -> str:
    if rate is None or interval is None:
        return ""
    return f"{rate:.1%} ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"
