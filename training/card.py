"""The model card: what a version predicts, what it was measured on, how well, and where that ends."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from training.report import Measured, TrainingReport

ROWS = 30


def card(report: TrainingReport, description: str, tables: Mapping[str, pd.DataFrame]) -> str:
    """Return the card as Markdown; tables are cut to ROWS rows."""
    parts = [
        f"# {report.model or report.job}",
        _warning(report),
        description.strip(),
        "## Data",
        _table(("what", "value"), [(name, value) for name, value in report.facts.items()]),
        f"## On the hold-out\n\n{_legend(report)}",
        _metrics(report),
        f"**Outcome:** {report.status}: {report.why}",
        *(f"## {_heading(name)}\n\n{_frame(frame)}" for name, frame in tables.items()),
        "## Limits",
        _limits(report),
        "## How to load it",
        _loading(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _warning(report: TrainingReport) -> str:
    if not report.simulated:
        return ""
    return (
        "> **Learned from simulated data.** The figures below say that the method works, "
        "not how well it would do for you."
    )


def _legend(report: TrainingReport) -> str:
    direction = "higher" if report.higher_is_better else "lower"
    return (
        f"Primary metric: {report.metric} ({direction} is better), with its 95 % bootstrap interval. "
        "“Ours better by” is the paired difference on the same units: positive where the new model is better."
    )


def _metrics(report: TrainingReport) -> str:
    if report.ours is None:
        return "Not measured."
    rows = [("new model", report.ours), *((one.name, one) for one in report.baselines)]
    if report.champion is not None:
        rows.append((report.champion.name, report.champion))
    others = [name for name in report.ours.metrics if name != report.metric]
    header = ("model", report.metric, "95 % interval", "ours better by", *others)
    return _table(header, [_metric_row(name, one, report.metric, others) for name, one in rows])


def _metric_row(name: str, one: Measured, metric: str, others: Sequence[str]) -> tuple[str, ...]:
    better = ""
    if one.improvement is not None:
        better = f"{_text(one.improvement)} ({_text(one.improvement_low)} to {_text(one.improvement_high)})"
    interval = f"{_text(one.low)} to {_text(one.high)}"
    return (
        name,
        _text(one.metrics.get(metric)),
        interval,
        better,
        *(_text(one.metrics.get(o)) for o in others),
    )


def _limits(report: TrainingReport) -> str:
    dates = " to ".join(
        str(report.facts[name])[:10] for name in ("validation_until", "holdout_until") if name in report.facts
    )
    window = f" ({dates})" if dates else ""
    return (
        f"- Measured on one hold-out window{window}: a season it has not seen may behave otherwise.\n"
        "- A prediction, not a cause: whom a message would change cannot be read from it.\n"
        "- The intervals hold what resampling the hold-out's units shows, not the drift of months to come."
    )


def _loading(report: TrainingReport) -> str:
    return (
        "```python\n"
        "import mlflow\n"
        f'model = mlflow.pyfunc.load_model("models:/{report.model}@champion")  # or /VERSION\n'
        "model.predict(frame)  # columns as in the signature\n"
        "```\n\n"
        "The plain files lie in `data/model` of the model's artifacts; `models.artifact.load(folder)` reads "
        "them without MLflow."
    )


def _heading(name: str) -> str:
    return name.rsplit(".", 1)[0].replace("_", " ").capitalize()


def _frame(frame: pd.DataFrame) -> str:
    shown = _table([str(name) for name in frame.columns], frame.head(ROWS).itertuples(index=False, name=None))
    more = f"\n\n… and {len(frame) - ROWS} more rows." if len(frame) > ROWS else ""
    return shown + more


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *([_text(cell) for cell in row] for row in rows)]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def _text(value: Any) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
