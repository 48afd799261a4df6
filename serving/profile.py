"""The profile: everything that is said of contacts, a row each, under the names of serving.vocabulary.

Segments, triggers and the card's figures read the same columns, worked out by the same models.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.items import items_at
from features.points import Rules as PointRules
from features.tags import tags_of
from models._lifecycle_rules import LifecycleRules
from models.catalogue import Catalogue
from models.lifecycle import Lifecycle
from models.rules import Rules
from nextbest.columns import CHANNELS, CONTACT_FEATURES, CONTACT_ID, TIME_COLUMNS
from serving.budget import Skipped
from serving.needs import COLUMNS as NEEDS
from serving.needs import needs_frame
from serving.parts import Parts
from serving.predict import PredictionLadders, rows_of
from serving.schemas import TASKS

RFM = {"segment": "segment", "recency": "r", "frequency": "f", "monetary": "m", "score": "rfm_score"}
DUE, NEXT_DAYS = NEEDS


class Profiler:
    """Works out profiles from rows of features. `parts`: an engine's, or those of bulk."""

    def __init__(self, parts: Parts) -> None:
        settings = parts.settings
        self._parts, self.ladders = parts, PredictionLadders(parts)
        self._points = Rules(PointRules.load(settings.rules).thresholds)
        self._lifecycle = LifecycleRules.load(settings.lifecycle)
        self._groups: Mapping[str, Callable[[pd.DataFrame, Collection[str]], pd.DataFrame]] = {
            "features": self._features, "times": self._times, "rfm": self._rfm, "score": self._score,
            "lifecycle": self._stage, "engagement": self._stage, "consent": self._book,
            "reachable": self._book, "tags": self._tags,
        }  # fmt: skip

    def of(self, contact_ids: Sequence[str], now: datetime, columns: Collection[str] = ()) -> pd.DataFrame:
        """Return the profiles of contacts as the event log has them this moment; columns (): all groups."""
        deadline = self._parts.patience(len(contact_ids))
        people = self._parts.people.many(list(contact_ids), now, deadline)
        frame = rows_of(people)
        frame[CONTACT_ID] = list(contact_ids)
        return self.rows(frame, now, columns)

    def rows(self, frame: pd.DataFrame, now: datetime, columns: Collection[str]) -> pd.DataFrame:
        """Return the profiles of rows of features; index 0 … n-1. Groups no column is asked of are left out.

        frame: contact_id, CONTACT_FEATURES, TIME_COLUMNS, top_category, all as at `now`.
        """
        frame = frame.reset_index(drop=True)
        for name in (*CONTACT_FEATURES, *TIME_COLUMNS):
            if name not in frame.columns:
                frame[name] = np.nan  # of nobody anything is known
        groups = {name.partition(".")[0] for name in columns} or {*self._groups, *TASKS, "needs"}
        parts = [frame[[CONTACT_ID]]]
        tasks = [task for task in TASKS if task in groups]
        if tasks:
            parts.append(self.ladders.frame(frame, tasks, known_of(frame)))
        made = dict.fromkeys(make for group, make in self._groups.items() if group in groups)
        parts += [make(frame, columns) for make in made]
        if "needs" in groups:
            parts.append(self._needs(frame, now))
        return pd.concat(parts, axis=1)

    def _features(self, frame: pd.DataFrame, columns: Collection[str]) -> pd.DataFrame:
        return _prefixed(frame, "features", CONTACT_FEATURES, columns)

    def _times(self, frame: pd.DataFrame, columns: Collection[str]) -> pd.DataFrame:
        return _prefixed(frame, "times", TIME_COLUMNS, columns)

    def _rfm(self, frame: pd.DataFrame, columns: Collection[str]) -> pd.DataFrame:
        del columns
        try:
            scores = self._parts.champion("rfm").model.score(frame)
        except Skipped:
            scores = pd.DataFrame(dict.fromkeys(RFM.values(), np.nan), index=frame.index)
            scores["segment"] = np.full(len(frame), None, dtype=object)
        return pd.DataFrame({f"rfm.{name}": scores[column] for name, column in RFM.items()})

    def _score(self, frame: pd.DataFrame, columns: Collection[str]) -> pd.DataFrame:
        del columns
        scores = self._points.score(frame)
        return pd.DataFrame({"score.points": scores["rule_score"], "score.stage": scores["stage"]})

    def _stage(self, frame: pd.DataFrame, columns: Collection[str]) -> pd.DataFrame:
        del columns
        scores = self.lifecycle.score(frame)
        return pd.DataFrame(
            {
                "lifecycle.stage": scores["stage"], "engagement.index": scores["index"],
                "engagement.half": scores["half"],
            }
        )  # fmt: skip

    @property
    def lifecycle(self) -> Lifecycle:
        """Return the rules' lifecycle, or the champion where the rules ask for learned cut-offs."""
        loaded = self._parts.champions.get("lifecycle") if self._lifecycle.cutoffs == "learned" else None
        return Lifecycle.chosen(self._lifecycle, loaded and loaded.model)

    def _book(self, frame: pd.DataFrame, columns: Collection[str]) -> pd.DataFrame:
        del columns
        flags = self._parts.book.flags(frame[CONTACT_ID].tolist(), CHANNELS)
        told = {"consent": flags.consent, "reachable": flags.reachable}
        return pd.DataFrame(
            {
                f"{kind}.{name}": values[:, n]
                for kind, values in told.items()
                for n, name in enumerate(CHANNELS)
            }
        )

    def _needs(self, frame: pd.DataFrame, now: datetime) -> pd.DataFrame:
        settings, catalogue = self._parts.settings, self._parts.shelf.catalogue()
        ids = frame[CONTACT_ID].tolist()
        if settings.needs is None:
            return pd.DataFrame({DUE: 0.0, NEXT_DAYS: np.nan}, index=frame.index)
        if catalogue is None:
            catalogue = Catalogue.from_frame(items_at(settings, now), now.timestamp())
        return needs_frame(settings, ids, now, catalogue).reset_index(drop=True)

    def _tags(self, frame: pd.DataFrame, columns: Collection[str]) -> pd.DataFrame:
        del columns
        found = tags_of(self._parts.settings, frame[CONTACT_ID].tolist())
        nothing = dict.fromkeys(TAG_COLUMNS)
        told = [nothing | (found[who].columns() if who in found else {}) for who in frame[CONTACT_ID]]
        return pd.DataFrame(told, columns=list(TAG_COLUMNS), index=frame.index, dtype=object)


TAG_COLUMNS = ("tags.source", "tags.language", "tags.device", "tags.top_interest")


def known_of(frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Tell of whom anything is known: a moment at which they were seen."""
    return np.isfinite(frame["last_seen"].to_numpy(np.float64))


def _prefixed(
    frame: pd.DataFrame, group: str, names: Sequence[str], columns: Collection[str]
) -> pd.DataFrame:
    asked = [name for name in names if not columns or f"{group}.{name}" in columns]
    return frame[asked].add_prefix(f"{group}.")
