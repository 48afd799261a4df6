"""Moments as whole microseconds since 1970: what the log and its links hold, exact where floats are not."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def micros(moment: datetime) -> int:
    """Return the microseconds of an aware moment."""
    return (moment - EPOCH) // MICROSECOND


def moment_of(micros_: int) -> datetime:
    """Return the aware moment of so many microseconds."""
    return EPOCH + micros_ * MICROSECOND
