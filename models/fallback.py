"""A model that stands behind another: asks the first, and the second where the first has no answer."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from models import artifact
from models.base import Floats, Model, Ranking, Rule, Shopper
from models.catalogue import Catalogue
from nextbest.errors import BadInput

log = logging.getLogger(__name__)
Value = TypeVar("Value")

ABILITIES = ("recommend", "score", "bought_together", "rank")
"""The scoring protocols' methods; a fallback has those that both its sides have."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[Value]):
    """What was answered, who answered, and why it was not the first asked (None: it was)."""

    value: Value
    source: str
    why: str | None = None


def abilities(model: Model) -> set[str]:
    """Return which of ABILITIES a model has."""
    if isinstance(model, Fallback):
        return abilities(model.primary) & abilities(model.backup)
    return {name for name in ABILITIES if callable(getattr(model, name, None))}


class Fallback:
    """Answers with `primary`; where that fails, is silent or falls short, with `backup`.

    A ladder is nested: Fallback(a, Fallback(b, c)). Each method has a twin `…_with_reason` that returns an
    Answer. An error of the last rung is raised: by then nobody has answered.
    """

    kind: ClassVar[str] = "fallback"

    def __init__(self, primary: Model, backup: Model) -> None:
        self.primary, self.backup = primary, backup
        if not abilities(self):
            raise BadInput(
                f"{primary.kind} and {backup.kind} answer different questions: neither can stand in"
            )

    def recommend(
        self, shopper: Shopper, catalogue: Catalogue, k: int, context: Sequence[str] = ()
    ) -> Ranking:
        """Return at most k items; a short answer of the first is topped up, and keeps the first's source."""
        return self.recommend_with_reason(shopper, catalogue, k, context).value

    def recommend_with_reason(
        self, shopper: Shopper, catalogue: Catalogue, k: int, context: Sequence[str] = ()
    ) -> Answer[Ranking]:
        """Return the ranking, its source and why it fell back."""
        asked = (shopper, catalogue, k, context)
        first = _try(self.primary, "recommend", *asked)
        if first.value is not None and len(first.value) >= k:
            return first
        if first.value is None or not len(first.value):
            second = _ask(self.backup, "recommend", *asked)
            return Answer(
                second.value, second.source, _joined(first.why or _nothing(self.primary), second.why)
            )
        return _topped_up(first, _try(self.backup, "recommend", *asked), k)

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the first's rows, and the second's where all the first's numbers are NaN.

        Columns `source` (who answered the row) and `fallback` (why not the first, None where it did) are new.
        """
        return self.score_with_reason(frame).value

    def score_with_reason(self, frame: pd.DataFrame) -> Answer[pd.DataFrame]:
        """Return the scores; `source` is the first's if it answered any row."""
        first = _try(self.primary, "score", frame)
        if first.value is not None and not first.value.index.equals(frame.index):
            first = Answer(None, first.source, f"{self.primary.kind} answered other rows than it was asked")
        if first.value is None:
            why = first.why or _nothing(self.primary)
            second = _ask(self.backup, "score", frame)
            return Answer(_named(second, why), second.source, _joined(why, second.why))
        silent = _silent(first.value)
        if not silent.any():
            return Answer(_named(first), first.source, first.why)
        return _filled(first, silent, _ask(self.backup, "score", frame[silent]), _nothing(self.primary))

    def bought_together(self, item_ids: Sequence[str], k: int) -> list[Rule]:
        """Return the first's rules, or the second's where it has none."""
        return self._either("bought_together", item_ids, k).value

    def rank(self, frame: pd.DataFrame, channels: Sequence[str]) -> pd.DataFrame:
        """Return the first's ranked channels, or the second's where it fails."""
        return self._either("rank", frame, channels).value

    def _either(self, method: str, *asked: Any) -> Answer[Any]:
        first = _try(self.primary, method, *asked)
        if first.value is not None and len(first.value):
            return first
        second = _ask(self.backup, method, *asked)
        return Answer(second.value, second.source, _joined(first.why or _nothing(self.primary), second.why))

    def save(self, folder: Path) -> None:
        """Write both sides as artifacts of their own."""
        artifact.save(self.primary, folder / "primary")
        artifact.save(self.backup, folder / "backup")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        return cls(artifact.load(folder / "primary"), artifact.load(folder / "backup"))


def _ask(model: Model, method: str, *asked: Any) -> Answer[Any]:
    """Ask a model, which may be a ladder itself."""
    if isinstance(model, Fallback) and method in ("recommend", "score"):
        answer: Answer[Any] = getattr(model, f"{method}_with_reason")(*asked)
        return answer
    if isinstance(model, Fallback):
        return model._either(method, *asked)
    ask: Callable[..., Any] = getattr(model, method)
    value = ask(*asked)
    return Answer(value, value.source if isinstance(value, Ranking) else model.kind)


def _try(model: Model, method: str, *asked: Any) -> Answer[Any]:
    """Ask a model; whatever it raises becomes a reason, without the details, which go to the log."""
    try:
        return _ask(model, method, *asked)
    except Exception as error:
        log.warning("%s.%s failed; the next rung answers", model.kind, method, exc_info=True)
        return Answer(None, model.kind, f"{model.kind} failed: {type(error).__name__}")


def _nothing(model: Model) -> str:
    return f"{model.kind} had no answer"


def _joined(*reasons: str | None) -> str | None:
    return "; ".join(reason for reason in reasons if reason) or None


def _topped_up(first: Answer[Ranking], second: Answer[Ranking], k: int) -> Answer[Ranking]:
    """Put what the first lacks behind it; where the second fails or adds nothing, the first stands alone."""
    ranking, more = first.value, second.value
    if more is None:
        return Answer(ranking, first.source, _joined(first.why, second.why))
    have = set(ranking.item_ids)
    rest = more.take([i for i, item in enumerate(more.item_ids) if item not in have][: k - len(ranking)])
    if not len(rest):
        return first
    why = f"{first.source} gave {len(ranking)} of {k}: topped up by {second.source}"
    return Answer(_behind(ranking, rest), first.source, _joined(first.why, why, second.why))


def _behind(ranking: Ranking, rest: Ranking) -> Ranking:
    """Join two rankings; the scores of the second are moved below the first's, so that they still fall.

    Probabilities stay what they were; NaN for the items of a side that gives none.
    """
    floor = float(np.min(ranking.scores))
    lowered = np.minimum(rest.scores - max(float(np.max(rest.scores)) - floor, 0.0), floor)
    probabilities = None
    if ranking.probabilities is not None or rest.probabilities is not None:
        probabilities = np.concatenate([_probabilities(ranking), _probabilities(rest)])
    return Ranking(
        ranking.item_ids + rest.item_ids,
        np.concatenate([ranking.scores, lowered]),
        ranking.reasons + rest.reasons,
        ranking.source,
        probabilities,
    )


def _probabilities(ranking: Ranking) -> Floats:
    return np.full(len(ranking), np.nan) if ranking.probabilities is None else ranking.probabilities


def _silent(scores: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return which rows hold no number at all; a model without number columns is never silent."""
    numbers = scores.select_dtypes("number")
    return np.asarray(numbers.isna().all(axis=1) & bool(numbers.shape[1]), dtype=np.bool_)


def _named(answer: Answer[pd.DataFrame], why: str | None = None) -> pd.DataFrame:
    """Return the scores with columns `source` and `fallback`, in front of reasons already there."""
    scores = answer.value
    sources = scores["source"] if "source" in scores else [answer.source] * len(scores)
    earlier = scores["fallback"] if "fallback" in scores else [None] * len(scores)
    reasons = np.array([_joined(why, reason) for reason in earlier], dtype=object)
    return scores.assign(source=np.asarray(sources, dtype=object), fallback=reasons)


def _filled(
    first: Answer[pd.DataFrame], silent: npt.NDArray[np.bool_], second: Answer[pd.DataFrame], why: str
) -> Answer[pd.DataFrame]:
    """Take the second's rows where the first was silent and the first's elsewhere; columns of both."""
    if silent.all():
        return Answer(_named(second, why), second.source, _joined(why, second.why))
    parts = [_named(first)[~silent], _named(second, why)]
    numbers = {name for part in parts for name in part.select_dtypes("number")}
    places = np.argsort(np.concatenate([np.flatnonzero(~silent), np.flatnonzero(silent)]))
    scores = pd.concat([part.astype(object) for part in parts]).iloc[places]
    reason = f"{why} for {int(silent.sum())} of {len(silent)} rows"
    typed = scores.astype({name: "float64" for name in scores.columns if name in numbers})
    return Answer(typed, first.source, _joined(reason, second.why))
