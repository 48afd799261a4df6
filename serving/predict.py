"""Churn, value and next order of many contacts at once: each task a ladder, each contact its own rung.

Answers are columns of one frame, so that a card, a campaign call and a million contacts in bulk go the same
way; only what is answered over HTTP becomes objects.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from serving._predicted import AHEAD, COLUMNS, NOT_ENOUGH_DATA, driver_of, gap_driver, prediction
from serving.budget import Deadline, Skipped
from serving.next_orders import replenishments
from serving.parts import Parts
from serving.people import Person
from serving.recommend import MODEL_FAILED
from serving.schemas import (
    ContactPredictions,
    Driver,
    Prediction,
    Predictions,
    PredictionsRequest,
    Task,
)

log = logging.getLogger("nextbest.answers")

UNKNOWN = "unknown"
BANDS = ((0.8, "high"), (0.5, "medium"), (0.0, "low"))
"""Bands of a churn probability where the model that gave it names none."""
OVERDUE = ((3.0, "high"), (1.5, "medium"), (0.0, "low"))
"""Bands of the days since the last order over the usual gap, where nothing learned can say."""
ANSWER = {"churn": "probability", "value": "value", "next_order": "value"}
"""Task -> the column without which there is no answer."""

Result = TypeVar("Result")
Run = Callable[[str, Callable[[], Result]], Result]
"""(version, work) -> its result, within the time there is; raises Skipped."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Given:
    """What a rung says of the rows it was asked about: columns of COLUMNS, one row each."""

    columns: pd.DataFrame
    source: str
    version: str | None
    silent: str | None = None
    """A column that answers in place of the task's own: the band where nothing has a probability."""


@dataclass
class _Asked:
    """One call: how work is run, and the value model's answers, which several rungs read."""

    run: Run[Any]
    scores: dict[str, pd.DataFrame]


Rung = Callable[[pd.DataFrame, _Asked], Given]


class PredictionLadders:
    """Asks the champion for all rows, then each lower rung for the rows still open."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._ladders: Mapping[Task, tuple[Rung, ...]] = {
            "churn": (self._churn, self._bgnbd, self._overdue),
            "value": (self._value, self._spend_rate),
            "next_order": (self._next_order, self._order_rate),
        }

    def answer(self, asked: PredictionsRequest, now: datetime) -> Predictions:
        """Return every task asked for every contact; never raises for what the platforms do."""
        deadline = self._parts.patience(len(asked.contact_ids))
        people = self._parts.people.many(asked.contact_ids, now, deadline)
        found = self.of(people, asked.tasks, now, deadline, asked.horizon_days)
        return Predictions(
            contacts=[
                ContactPredictions(contact_id=contact_id, known=person.known, predictions=given)
                for contact_id, person, given in zip(asked.contact_ids, people, found, strict=True)
            ]
        )

    def of(
        self,
        people: Sequence[Person],
        tasks: Sequence[Task],
        now: datetime,
        deadline: Deadline,
        horizon_days: int | None = None,
    ) -> list[dict[str, Prediction]]:
        """Return the predictions of people already looked up, by task."""
        frame = rows_of(people)
        if horizon_days is not None:
            frame["horizon_days"] = float(horizon_days)
        known = np.array([person.known for person in people], dtype=bool)
        found = self.frame(frame, tasks, known, deadline.run)
        drivers = self._drivers(frame, found, deadline) if "churn" in tasks else {}
        again = replenishments(self._parts, [p.view for p in people], now, deadline)
        return [
            {
                task: prediction(task, found, row, person, now, drivers.get(row, []), again[row])
                for task in tasks
            }
            for row, person in enumerate(people)
        ]

    def frame(
        self,
        frame: pd.DataFrame,
        tasks: Collection[Task],
        known: npt.NDArray[np.bool_] | None = None,
        run: Run[Any] = lambda _, work: work(),
    ) -> pd.DataFrame:
        """Return "task.column" of COLUMNS, and source, version, fallback of each task; index 0 … n-1.

        frame: contact_id, CONTACT_FEATURES, TIME_COLUMNS; `known`: of whom anything is (None: everybody).
        """
        frame = frame.reset_index(drop=True)
        asked = _Asked(run, {})
        everybody = np.ones(len(frame), dtype=bool)
        parts = [self._task(task, frame, everybody if known is None else known, asked) for task in tasks]
        return pd.concat(parts, axis=1)

    def _task(
        self, task: Task, frame: pd.DataFrame, known: npt.NDArray[np.bool_], asked: _Asked
    ) -> pd.DataFrame:
        out = _empty(task, len(frame))
        open_, reason = known.copy(), None
        for rung in self._ladders[task]:
            if not open_.any():
                break
            rows = np.flatnonzero(open_)
            try:
                given = rung(frame if len(rows) == len(frame) else frame.iloc[rows], asked)
            except Skipped as skipped:
                reason = reason or skipped.reason
                continue
            except Exception:
                log.exception("a prediction failed")
                reason = reason or MODEL_FAILED
                continue
            held = given.columns[given.silent or ANSWER[task]].notna().to_numpy()
            _fill(out, task, rows[held], given, held)
            if rung is not self._ladders[task][0]:
                out.loc[rows[held], f"{task}.fallback"] = reason or NOT_ENOUGH_DATA
            open_[rows[held]] = False
        out.loc[open_, f"{task}.fallback"] = reason or "no_orders"
        out.loc[~known, f"{task}.fallback"] = "unknown_contact"
        return out

    # --- churn

    def _churn(self, frame: pd.DataFrame, asked: _Asked) -> Given:
        loaded = self._parts.champion("churn")
        scores = asked.run(loaded.version, lambda: loaded.model.score(frame))
        columns = pd.DataFrame(index=frame.index)
        for name in ("probability", "low", "high", "percentile", "band"):
            columns[name] = scores.get(name, np.nan)
        default = getattr(loaded.model.config, "horizon_days", None)
        columns["horizon_days"] = scores.get("horizon_days", default)
        return Given(columns, loaded.model.kind, loaded.version)

    def _bgnbd(self, frame: pd.DataFrame, asked: _Asked) -> Given:
        version, horizon, scores = self._value_scores(frame, asked)
        p, days = scores["p_no_order"], np.full(len(frame), float(horizon))
        if "horizon_days" in frame.columns:  # asked about other days than the model's own
            days = frame["horizon_days"].to_numpy(np.float64)
            p = pd.Series(self._parts.champion("value").model.p_none(frame, days), index=frame.index)
        columns = pd.DataFrame({"probability": p, "band": _bands(p, BANDS), "horizon_days": days})
        return Given(columns, "bgnbd", version)

    def _overdue(self, frame: pd.DataFrame, asked: _Asked) -> Given:
        del asked
        bands = pd.Series(_bands(frame["recency_over_gap"], OVERDUE), index=frame.index)
        columns = pd.DataFrame({"band": bands, "horizon_days": float(self._days)})
        return Given(columns, "recency", None, silent="band")

    # --- value and next order

    def _value(self, frame: pd.DataFrame, asked: _Asked) -> Given:
        version, horizon, scores = self._value_scores(frame, asked)
        worth = scores["order_value"]
        low = scores["spend_low"] if "spend_low" in scores else scores["orders_low"] * worth
        high = scores["spend_high"] if "spend_high" in scores else scores["orders_high"] * worth
        columns = pd.DataFrame(
            {"value": scores["expected_spend"], "low": low, "high": high, "horizon_days": float(horizon)}
        )
        columns["past"] = scores["past_spend"] if "past_spend" in scores else frame["spend_total"]
        for days in AHEAD:
            for name, told in (("next", "spend"), ("orders", "orders")):
                column = f"{told}_{days}d"
                columns[f"{name}_{days}d"] = scores.get(column, np.nan)
        columns["total"] = columns["past"] + columns[f"next_{AHEAD[-1]}d"]
        return Given(columns, "value", version)

    def _next_order(self, frame: pd.DataFrame, asked: _Asked) -> Given:
        version, horizon, scores = self._value_scores(frame, asked)
        columns = pd.DataFrame(
            {
                "probability": 1.0 - scores["p_no_order"], "value": scores["expected_orders"],
                "low": scores["orders_low"], "high": scores["orders_high"], "horizon_days": float(horizon),
                "days": scores["next_order_days"],
            }
        )  # fmt: skip
        dates = self._dates(frame, horizon, asked)
        if dates is not None:
            for name in dates:
                columns[name] = dates[name]
        return Given(columns, "value", version)

    def _dates(self, frame: pd.DataFrame, horizon: int, asked: _Asked) -> pd.DataFrame | None:
        """Return when the next order comes, by the churn model's curve; None where it cannot say."""
        try:
            loaded = self._parts.champion("churn")
            return asked.run(loaded.version, lambda: loaded.model.next_order(frame, float(horizon)))
        except (Skipped, AttributeError):
            return None

    def _spend_rate(self, frame: pd.DataFrame, asked: _Asked) -> Given:
        del asked
        rate = np.maximum(self._rate(frame, "spend_90d"), 0.0)
        columns = pd.DataFrame({"value": rate, "horizon_days": float(self._days)}, index=frame.index)
        return Given(columns.assign(past=frame["spend_total"]), "own_rate", None)

    def _order_rate(self, frame: pd.DataFrame, asked: _Asked) -> Given:
        del asked
        rate = self._rate(frame, "orders_90d")
        columns = pd.DataFrame({"value": rate, "probability": -np.expm1(-rate)}, index=frame.index)
        return Given(columns.assign(horizon_days=float(self._days)), "own_rate", None)

    def _rate(self, frame: pd.DataFrame, counter: str) -> Floats:
        """Return what a decayed count promises for the horizon: count * ln 2 / 90 days * horizon."""
        count = frame[counter].to_numpy(np.float64) * np.log(2) / 90 * self._days
        return np.where(frame["orders_total"].to_numpy(np.float64) > 0, count, np.nan)

    def _value_scores(self, frame: pd.DataFrame, asked: _Asked) -> tuple[str, int, pd.DataFrame]:
        loaded = self._parts.champion("value")
        held = asked.scores.get("value")
        if held is None or not frame.index.isin(held.index).all():
            held = asked.scores["value"] = asked.run(loaded.version, lambda: loaded.model.score(frame))
        horizon = round(getattr(loaded.model.config, "horizon_days", self._days))
        return loaded.version, horizon, held if len(held) == len(frame) else held.loc[frame.index]

    @property
    def _days(self) -> int:
        return self._parts.settings.horizon_days

    def _drivers(
        self, frame: pd.DataFrame, found: pd.DataFrame, deadline: Deadline
    ) -> dict[int, list[Driver]]:
        """Return what moved each contact's probability: of the champion, or the gap where that is all."""
        out: dict[int, list[Driver]] = {}
        source = found["churn.source"].to_numpy(dtype=object)
        overdue = np.flatnonzero(source == "recency")
        for row in overdue.tolist():
            out[row] = [gap_driver(float(frame["recency_over_gap"].iloc[row]))]
        asked = np.flatnonzero(found["churn.fallback"].isna() & (source != NOT_ENOUGH_DATA))
        try:
            loaded = self._parts.champion("churn")
            if len(asked) and hasattr(loaded.model, "drivers"):
                told = deadline.run(loaded.version, lambda: loaded.model.drivers(frame.iloc[asked]))
                out |= {
                    int(row): [driver_of(one) for one in drivers]
                    for row, drivers in zip(asked, told, strict=True)
                }
        except Skipped:
            pass
        except Exception:
            log.exception("what moved a prediction cannot be told")
        return out


def rows_of(people: Sequence[Person]) -> pd.DataFrame:
    """Return people as the tabular models read them; `top_category`: where they buy most."""
    rows = [
        {
            **person.view.row(),
            "top_category": person.view.category_names[0] if person.view.category_names else None,
        }
        for person in people
    ]
    return pd.DataFrame(rows)


def _empty(task: Task, count: int) -> pd.DataFrame:
    names = {name: np.full(count, np.nan) for name in COLUMNS[task] if name != "band"}
    out = pd.DataFrame({f"{task}.{name}": values for name, values in names.items()})
    if "band" in COLUMNS[task]:
        out[f"{task}.band"] = np.full(count, UNKNOWN, dtype=object)
    out[f"{task}.source"] = np.full(count, NOT_ENOUGH_DATA, dtype=object)
    for name in ("version", "fallback"):
        out[f"{task}.{name}"] = np.full(count, None, dtype=object)
    return out


def _fill(
    out: pd.DataFrame, task: Task, rows: npt.NDArray[np.int64], given: Given, held: npt.NDArray[np.bool_]
) -> None:
    everyone = len(rows) == len(out)
    told = {name: given.columns[name] for name in COLUMNS[task] if name in given.columns}
    for name, values in {**told, "source": given.source, "version": given.version}.items():
        column = f"{task}.{name}"
        chosen = values.to_numpy()[held] if isinstance(values, pd.Series) else values
        if everyone:
            out[column] = chosen
        else:
            out.loc[rows, column] = chosen


def _bands(values: "pd.Series[float]", bands: Sequence[tuple[float, str]]) -> npt.NDArray[np.object_]:
    """Return each value's band; None for NaN."""
    numbers = values.to_numpy(np.float64)
    out = np.full(len(numbers), None, dtype=object)
    for least, name in reversed(bands):
        out[numbers >= least] = name
    return out
