"""Answers over HTTP: one task's columns of a contact as an object."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from serving.people import Person
from serving.schemas import AsOf, Driver, Prediction, Replenishment, Task, ValueAhead

NOT_ENOUGH_DATA = "not_enough_data"
AHEAD = (90, 365)
"""Days for which value is told beside the horizon."""
COLUMNS: Mapping[Task, tuple[str, ...]] = {
    "churn": ("probability", "low", "high", "percentile", "band", "horizon_days"),
    "value": (
        "value", "low", "high", "past", "total", "horizon_days",
        *(f"{what}_{days}d" for days in AHEAD for what in ("next", "orders")),
    ),
    "next_order": (
        "probability", "value", "low", "high", "days", "low_days", "high_days", "horizon_days",
    ),
}  # fmt: skip
"""Task -> its columns, beside source, version and fallback."""


def prediction(
    task: Task,
    found: pd.DataFrame,
    row: int,
    person: Person,
    now: datetime,
    drivers: Sequence[Driver],
    categories: Sequence[Replenishment],
) -> Prediction:
    """Return one answer as an object."""
    given = {
        name: found[f"{task}.{name}"].iloc[row] for name in (*COLUMNS[task], "source", "version", "fallback")
    }
    numbers = {name: _number(given[name]) for name in COLUMNS[task] if name != "band"}
    horizon = numbers.pop("horizon_days")
    told: dict[str, Any] = {name: numbers.get(name) for name in ("probability", "value", "low", "high")}
    if task == "churn":
        told |= {"percentile": numbers["percentile"], "band": str(given["band"]), "drivers": list(drivers)}
    elif task == "value":
        told |= {"past": numbers["past"], "total": numbers["total"], "ahead": _ahead(numbers)}
    else:
        names = (("date", "days"), ("low_date", "low_days"), ("high_date", "high_days"))
        told |= {name: _date(now, numbers[days]) for name, days in names} | {"categories": list(categories)}
    silent = given["source"] == NOT_ENOUGH_DATA
    return Prediction(
        **told, source=str(given["source"]), model_version=_text(given["version"]),
        fallback=(person.trouble if silent else None) or _text(given["fallback"]),
        as_of=AsOf(moment=now, position=person.position),
        horizon_days=30 if horizon is None else round(horizon),
    )  # fmt: skip


def _ahead(numbers: Mapping[str, float | None]) -> list[ValueAhead]:
    told = [(days, numbers[f"orders_{days}d"], numbers[f"next_{days}d"]) for days in AHEAD]
    return [
        ValueAhead(days=days, orders=orders, spend=spend)
        for days, orders, spend in told
        if orders is not None
    ]


def _date(now: datetime, days: float | None) -> Any:
    return None if days is None else (now + timedelta(days=days)).date()


def driver_of(driver: Any) -> Driver:
    return Driver(
        feature=driver.feature,
        value=_number(driver.value),
        contribution=float(driver.contribution),
        phrase=driver.phrase,
    )


def gap_driver(over: float) -> Driver:
    phrase = f"{over:.1f} times the usual gap since the last order"
    return Driver(feature="recency_over_gap", value=over, contribution=over - 1.0, phrase=phrase)


def _number(value: Any) -> float | None:
    """Return a finite float, or None."""
    return None if value is None or not np.isfinite(value) else float(value)


def _text(value: Any) -> str | None:
    return None if value is None or value != value else str(value)
