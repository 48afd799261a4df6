"""The table of every model against its baselines."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nextbest import _screen as screen

if TYPE_CHECKING:
    from training.report import Measured, TrainingReport

OTHERS_SHOWN = (
    "auc", "ece", "recall@10", "log_loss", "spearman", "total_error", "orders_mae", "coverage_80", "ece_14d",
    "before.auc", "after.auc",
)  # fmt: skip
"""Beside the primary metric, where a model has them."""


def show_reports(reports: Sequence["TrainingReport"]) -> None:
    """Print a row for each model and each of its baselines, and what became of the model."""
    header = ("model", "measure", "value", "95 % interval", "ours is better by", "also", "outcome")
    rows: list[tuple[str, ...]] = []
    for report in reports:
        name = f"[bold]{report.job}[/]" + (" (simulated data)" if report.simulated else "")
        if report.ours is None:
            rows.append((name, report.metric, "", "", "", "", f"{report.status}: {report.why}"))
            continue
        version = f" v{report.version}" if report.version else ""
        rows.append(
            (name, report.metric, *_cells(report.ours, report.metric), f"[bold]{report.status}[/]{version}")
        )
        named = [*report.baselines, *([report.champion] if report.champion else [])]
        rows.extend((f"  {other.name}", "", *_cells(other, report.metric), "") for other in named)
    screen.table("models against their baselines, on the hold-out", header, rows)
    if gone := max((report.facts.get("contacts_left_out", 0) for report in reports), default=0):
        screen.say(f"  {gone} contacts were left out: erased, or object to profiling (docs/privacy.md)")
    for report in reports:
        if report.status in {"registered", "failed"}:
            screen.say(f"  {report.job}: {report.why}")


def _cells(measured: "Measured", metric: str) -> tuple[str, str, str, str]:
    better = ""
    if measured.improvement is not None:
        better = (
            f"{measured.improvement:+.4f} {_interval(measured.improvement_low, measured.improvement_high)}"
        )
    also = ", ".join(
        f"{name} {value:.4f}" for name, value in measured.metrics.items()
        if name in OTHERS_SHOWN and name != metric and value is not None
    )  # fmt: skip
    value = measured.metrics.get(metric)
    return "" if value is None else f"{value:.4f}", _interval(measured.low, measured.high), better, also


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"[{low:.4f}, {high:.4f}]"
