"""Options of `--set key=value` that must be numbers within limits."""

from math import isfinite

from nextbest.errors import BadInput
from training.base import Context


def whole(context: Context, key: str, default: int, least: int = 1) -> int:
    """Return an option as a whole number; raises BadInput for anything else."""
    text = context.options.get(key, str(default)).strip()
    if not text.isdecimal() or int(text) < least:
        raise BadInput(f"{key} is {text!r}; it must be a whole number from {least}")
    return int(text)


def positive(context: Context, key: str, default: float) -> float:
    """Return an option as a number above zero; raises BadInput for anything else."""
    text = context.options.get(key, str(default))
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not (isfinite(value) and value > 0):
        raise BadInput(f"{key} is {text!r}; it must be a number above 0")
    return value
