"""Churn, value and next order of many contacts at once: each task a ladder, each row its own rung."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from serving.budget import Deadline, Skipped
from serving.parts import Parts
from serving.people import Person
from serving.recommend import MODEL_FAILED
from serving.schemas import (
    AsOf,
    ContactPredictions,
    Driver,
    Prediction,
    Predictions,
    PredictionsRequest,
    Task,
)

log = logging.getLogger("nextbest.answers")

NOT_ENOUGH_DATA = "not_enough_data"
BANDS = ((0.8, "high"), (0.5, "medium"), (0.0, "low"))
"""Bands of a churn probability where the model that gave it names none."""
OVERDUE = ((3.0, "high"), (1.5, "medium"), (0.0, "low"))
"""Bands of the days since the last order over the usual gap, where nothing learned can say."""
LN2 = math.log(2)


@dataclass
class _Rows:
    """Contacts on their way down a ladder: `found` holds what was answered, by row."""

    people: Sequence[Person]
    frame: pd.DataFrame
    deadline: Deadline
    now: datetime
    found: dict[int, dict[str, Any]] = field(default_factory=dict)
    reason: str | None = None

    def open(self) -> list[int]:
        """Return the rows nobody has answered yet."""
        return [row for row in range(len(self.people)) if row not in self.found]


Rung = Callable[["_Rows", list[int]], dict[int, dict[str, Any]]]


class PredictionLadders:
    """Asks the champion for all rows, then each lower rung for the rows still open."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._ladders: dict[str, tuple[Rung, ...]] = {
            "churn": (self._churn, self._bgnbd, self._overdue),
            "value": (self._value, self._spend_rate),
            "next_order": (self._next_order, self._order_rate),
        }

    def answer(self, asked: PredictionsRequest, now: datetime) -> Predictions:
        """Return every task asked for every contact; never raises for what the platforms do."""
        deadline = self._parts.patience(len(asked.contact_ids))
        people = self._parts.people.many(asked.contact_ids, now, deadline)
        found = self.of(people, asked.tasks, now, deadline)
        return Predictions(
            contacts=[
                ContactPredictions(contact_id=contact_id, known=person.known, predictions=given)
                for contact_id, person, given in zip(asked.contact_ids, people, found, strict=True)
            ]
        )

    def of(
        self, people: Sequence[Person], tasks: Sequence[Task], now: datetime, deadline: Deadline
    ) -> list[dict[str, Prediction]]:
        """Return the predictions of people already looked up, by task."""
        frame = pd.DataFrame([person.view.row() for person in people])
        by_task = {task: self._task(task, people, frame, now, deadline) for task in tasks}
        return [{task: given[row] for task, given in by_task.items()} for row in range(len(people))]

    def _task(
        self, task: str, people: Sequence[Person], frame: pd.DataFrame, now: datetime, deadline: Deadline
    ) -> list[Prediction]:
        rows = _Rows(people, frame, deadline, now)
        for rung in self._ladders[task]:
            self._climb(rows, rung, first=rung is self._ladders[task][0])
        return [self._prediction(rows, row) for row in range(len(people))]

    def _climb(self, rows: _Rows, rung: Rung, first: bool) -> None:
        wanted = [row for row in rows.open() if rows.people[row].known]
        if not wanted and not first:
            return
        try:
            given = rung(rows, wanted)
        except Skipped as skipped:
            rows.reason = skipped.reason if first else rows.reason
            return
        except Exception:
            log.exception("a prediction failed")
            rows.reason = MODEL_FAILED if first else rows.reason
            return
        rows.found.update({row: {**values, "first": first} for row, values in given.items()})

    def _prediction(self, rows: _Rows, row: int) -> Prediction:
        person = rows.people[row]
        as_of = AsOf(moment=rows.now, position=person.position)
        given = dict(rows.found.get(row, {}))
        if not given:
            nothing = person.trouble or (
                "unknown_contact" if not person.known else rows.reason or "no_orders"
            )
            return Prediction(
                source=NOT_ENOUGH_DATA, model_version=None, fallback=nothing, as_of=as_of,
                horizon_days=self._parts.settings.churn_horizon_days, band="unknown",
            )  # fmt: skip
        fallback = None if given.pop("first") else rows.reason or NOT_ENOUGH_DATA
        return Prediction(**given, fallback=fallback, as_of=as_of)

    # --- churn

    def _churn(self, rows: _Rows, wanted: list[int]) -> dict[int, dict[str, Any]]:
        loaded = self._parts.champion("churn")
        frame = rows.frame.iloc[wanted]
        if frame.empty:
            return {}
        scores, drivers = rows.deadline.run(loaded.version, lambda: _scored(loaded.model, frame))
        given = {}
        for place, row in enumerate(wanted):
            probability = _number(scores["probability"].iloc[place])
            if probability is not None:
                given[row] = {
                    "probability": probability,
                    "percentile": _number(scores["percentile"].iloc[place]),
                    "band": str(scores["band"].iloc[place]),
                    "drivers": [_driver(driver) for driver in drivers[place]],
                    "source": loaded.model.kind,
                    "model_version": loaded.version,
                    "horizon_days": self._horizon(loaded.model),
                }
        return given

    def _bgnbd(self, rows: _Rows, wanted: list[int]) -> dict[int, dict[str, Any]]:
        version, horizon, scores = self._value_scores(rows, wanted)
        given = {}
        for place, row in enumerate(wanted):
            probability = _number(scores["p_no_order"].iloc[place])
            if probability is not None:
                given[row] = {
                    "probability": probability, "band": _band(probability, BANDS), "source": "bgnbd",
                    "model_version": version, "horizon_days": horizon,
                }  # fmt: skip
        return given

    def _overdue(self, rows: _Rows, wanted: list[int]) -> dict[int, dict[str, Any]]:
        given = {}
        for row in wanted:
            over = _number(rows.people[row].view.features.get("recency_over_gap"))
            if over is not None:
                given[row] = {
                    "band": _band(over, OVERDUE), "source": "recency", "model_version": None,
                    "horizon_days": self._parts.settings.churn_horizon_days,
                    "drivers": [_gap_driver(over)],
                }  # fmt: skip
        return given

    # --- value and next order

    def _value(self, rows: _Rows, wanted: list[int]) -> dict[int, dict[str, Any]]:
        version, horizon, scores = self._value_scores(rows, wanted)
        given = {}
        for place, row in enumerate(wanted):
            one = scores.iloc[place]
            spend, worth = _number(one["expected_spend"]), _number(one["order_value"])
            if spend is not None and worth is not None:
                given[row] = {
                    "value": spend, "low": float(one["orders_low"]) * worth,
                    "high": float(one["orders_high"]) * worth,
                    "source": "value", "model_version": version, "horizon_days": horizon,
                }  # fmt: skip
        return given

    def _next_order(self, rows: _Rows, wanted: list[int]) -> dict[int, dict[str, Any]]:
        version, horizon, scores = self._value_scores(rows, wanted)
        given = {}
        for place, row in enumerate(wanted):
            one = scores.iloc[place]
            nothing = _number(one["p_no_order"])
            if nothing is not None:
                given[row] = {
                    "probability": 1.0 - nothing, "value": float(one["expected_orders"]),
                    "low": float(one["orders_low"]), "high": float(one["orders_high"]),
                    "source": "value", "model_version": version, "horizon_days": horizon,
                }  # fmt: skip
        return given

    def _spend_rate(self, rows: _Rows, wanted: list[int]) -> dict[int, dict[str, Any]]:
        return {
            row: {**rest, "value": max(rate, 0.0)}
            for row, rate, rest in self._rates(rows, wanted, "spend_90d")
        }

    def _order_rate(self, rows: _Rows, wanted: list[int]) -> dict[int, dict[str, Any]]:
        return {
            row: {**rest, "value": rate, "probability": -math.expm1(-rate)}
            for row, rate, rest in self._rates(rows, wanted, "orders_90d")
        }

    def _rates(self, rows: _Rows, wanted: list[int], counter: str) -> list[tuple[int, float, dict[str, Any]]]:
        """Return what a decayed count promises for the horizon: count * ln 2 / 90 days * horizon."""
        days = self._parts.settings.churn_horizon_days
        rest = {"source": "own_rate", "model_version": None, "horizon_days": days}
        found = []
        for row in wanted:
            features = rows.people[row].view.features
            if features.get("orders_total", 0.0) > 0:
                found.append((row, float(features[counter]) * LN2 / 90 * days, dict(rest)))
        return found

    def _value_scores(self, rows: _Rows, wanted: list[int]) -> tuple[str, int, pd.DataFrame]:
        loaded = self._parts.champion("value")
        frame = rows.frame.iloc[wanted]
        if frame.empty:
            raise Skipped("no_orders")
        scores = rows.deadline.run(loaded.version, lambda: loaded.model.score(frame))
        return loaded.version, self._horizon(loaded.model), scores

    def _horizon(self, model: Any) -> int:
        return round(getattr(model.config, "horizon_days", self._parts.settings.churn_horizon_days))


def _scored(model: Any, frame: pd.DataFrame) -> tuple[pd.DataFrame, list[list[Any]]]:
    scores = model.score(frame)
    drivers = model.drivers(frame) if hasattr(model, "drivers") else [[] for _ in range(len(frame))]
    return scores, drivers


def _driver(driver: Any) -> Driver:
    return Driver(
        feature=driver.feature,
        value=_number(driver.value),
        contribution=float(driver.contribution),
        phrase=driver.phrase,
    )


def _gap_driver(over: float) -> Driver:
    phrase = f"{over:.1f} times the usual gap since the last order"
    return Driver(feature="recency_over_gap", value=over, contribution=over - 1.0, phrase=phrase)


def _band(value: float, bands: Sequence[tuple[float, str]]) -> str:
    return next((name for least, name in bands if value >= least), bands[-1][1])


def _number(value: Any) -> float | None:
    """Return a finite float, or None."""
    return None if value is None or not np.isfinite(value) else float(value)
