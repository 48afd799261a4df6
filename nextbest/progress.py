"""How long work tells the front door where it stands."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total); total 0 where it is not known beforehand."""


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing; the default everywhere below the front door."""
