"""The table of every model against its baselines."""

from collections.abc import Sequence
from typing import Any


def show_reports(reports: Sequence[Any]) -> None:
    """Print one row for each model and baseline; `reports` are training.runner.TrainingReport."""
    del reports
    raise NotImplementedError
