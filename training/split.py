"""The split by time: train, then validation, then hold-out; nothing later is seen by anything earlier."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nextbest.errors import BadInput, NotReady
from training.base import Context

Span = tuple[datetime, datetime]
_PARTS = ("a hold-out", "learning and hold-out", "training, validation and hold-out")


@dataclass(frozen=True)
class TemporalSplit:
    """Train on events up to train_until; validation is (train_until, validation_until], hold-out (…, end]."""

    train_until: datetime
    validation_until: datetime
    """The cut: nothing after it may enter what is learned from or chosen by."""
    end: datetime

    @property
    def cut(self) -> datetime:
        """Where the hold-out begins."""
        return self.validation_until

    @classmethod
    def of(
        cls, span: Span | None, context: Context, days: int | None = None, before: int = 2
    ) -> "TemporalSplit":
        """Split a span (first and last event) into windows of `days` (default settings.holdout_days).

        The hold-out ends with the last whole day of the data, or begins at the option `cut=YYYY-MM-DD`.
        Raises NotReady where the data hold no window more than the `before` that must lie before the cut,
        BadInput for a cut they cannot serve.
        """
        window = timedelta(days=days or context.settings.holdout_days)
        if span is None:
            raise NotReady("there are no events; run `nextbest ingest` and `nextbest features build` first")
        first, last = (_utc(moment) for moment in span)
        end = _whole_days(last, _utc(context.now))
        if (text := context.options.get("cut")) is not None:
            end = _chosen(text, window, first, end, before)
        _require(first, end, window, before)
        return cls(end - 2 * window, end - window, end)

    def facts(self) -> dict[str, str]:
        """Return the dates of the split, for Job.facts."""
        return {
            "train_until": self.train_until.isoformat(),
            "validation_until": self.validation_until.isoformat(),
            "holdout_until": self.end.isoformat(),
        }


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _whole_days(last: datetime, now: datetime) -> datetime:
    """Return the end of the last day that is over by `now`: half a day of labels would bias the hold-out."""
    end = _midnight(last) + timedelta(days=1)
    return end if end <= now else _midnight(min(last, now))


def _chosen(text: str, window: timedelta, first: datetime, end: datetime, before: int) -> datetime:
    try:
        cut = _utc(datetime.fromisoformat(text))
    except ValueError:
        raise BadInput(f"cut is {text!r}; it must be a date such as {end - window:%Y-%m-%d}") from None
    earliest, latest = _midnight(first) + before * window, end - window
    if cut + window > end or cut < earliest:
        raise BadInput(
            f"cut {text} leaves no whole windows of {window.days} days in the data ({first:%Y-%m-%d} to "
            f"{end:%Y-%m-%d}); " + _room(earliest, latest)
        )
    return cut + window


def _room(earliest: datetime, latest: datetime) -> str:
    if earliest > latest:
        return "no cut would do: take a shorter holdout_days or ingest more events"
    return f"a cut from {_midnight(earliest + timedelta(days=1)):%Y-%m-%d} to {latest:%Y-%m-%d} would work"


def _require(first: datetime, end: datetime, window: timedelta, before: int) -> None:
    days = (end - first) / timedelta(days=1)
    if end - (before + 1) * window < _midnight(first):
        usable = int(max((end - _midnight(first)).days // (before + 1), 0))
        hint = f"holdout_days={usable} would work" if usable else "ingest more events"
        raise NotReady(
            f"the data span {max(days, 0):.0f} days; {_PARTS[before]} of {window.days} days "
            f"{'each ' if before else ''}need {(before + 1) * window.days}: {hint}"
        )
