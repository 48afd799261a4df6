"""Files that are whole or not there at all."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes `path`'s place when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield aside
        flush(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def remove_asides(folder: Path) -> None:
    """Remove what a process that was killed had written aside; the caller lets nobody else write there."""
    for left in folder.rglob(".*.tmp"):
        left.unlink(missing_ok=True)


def holds(path: Path, needles: Sequence[bytes]) -> bool:
    """Tell whether any of the byte strings stands anywhere in a file."""
    if not path.exists() or not path.stat().st_size:
        return False
    with path.open("rb") as source, mmap(source.fileno(), 0, access=ACCESS_READ) as content:
        return any(content.find(needle) >= 0 for needle in needles)


def flush(path: Path) -> None:
    """Make the content durable before the name points at it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
