"""What else in the state folder names people: input examples of models, dead letters, bulk runs, logs.

A file is looked at by its kind and not by its name, so that what is added later is swept too: Parquet and
SQLite tables and CSV by their column of ids, JSON by its keys of ids, logs by the id itself. Lake, feature
tables, rejects, event log and online store have their own erasers.
"""

import csv
import json
import re
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any

import pyarrow as pa

from features.erase import erase_rows
from features.events._files import holds, written_aside
from nextbest.columns import ANONYMOUS_ID, CONTACT_ID

KEYS = frozenset((CONTACT_ID, ANONYMOUS_ID, "contact_ids", "userId", "anonymousId", "previousId"))
"""Under which JSON names people."""
TELLING = 8
"""Characters from which an id in a log is known for one without quotes around it."""
LOGS = (".log", ".txt")


def sweep(home: Path, ids: Sequence[str], but: Collection[Path]) -> int:
    """Remove rows, lines and entries that name one of the ids; returns how many. `but`: left alone."""
    gone = frozenset(ids)
    needles = [form.encode("utf-8", "surrogatepass") for one in gone for form in {one, json.dumps(one)[1:-1]}]
    return sum(_clean(path, gone, needles) for path in sorted(_files(home, frozenset(but))))


def _files(folder: Path, but: frozenset[Path]) -> Iterator[Path]:
    for path in folder.iterdir():
        if path in but or path.is_symlink():
            continue
        if path.is_dir():
            yield from _files(path, but)
        elif path.is_file():
            yield path


def _clean(path: Path, gone: frozenset[str], needles: Sequence[bytes]) -> int:
    kind = path.suffix.lower()
    with path.open("rb") as source:
        magic = source.read(16)
    if magic[:4] == b"PAR1":
        return _parquet(path, gone)
    if magic == b"SQLite format 3\0":
        return _database(path, gone)
    if kind not in (".json", ".jsonl", ".ndjson", ".csv", *LOGS) or not holds(path, needles):
        return 0
    if kind in LOGS:
        return _log(path, gone)
    return {".json": _document, ".csv": _csv}.get(kind, _lines)(path, gone)


def _parquet(path: Path, gone: frozenset[str]) -> int:
    try:
        return erase_rows(path, (CONTACT_ID, ANONYMOUS_ID), sorted(gone))
    except pa.ArrowInvalid:  # a writer is still at it, or was killed: without its end the file is no use
        return 0


def _database(path: Path, gone: frozenset[str]) -> int:
    removed = 0
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        connection.execute("PRAGMA secure_delete = ON")
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            columns = {row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')}
            for column in columns & {CONTACT_ID, ANONYMOUS_ID}:
                statement = f'DELETE FROM "{table}" WHERE "{column}" = ?'  # noqa: S608 - the file's own names
                removed += sum(connection.execute(statement, (one,)).rowcount for one in gone)
        connection.commit()
        if removed:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return removed


def _document(path: Path, gone: frozenset[str]) -> int:
    """Drop the entries of lists that name somebody; a document that does so at its top goes altogether."""
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        return 0
    kept, removed = _stripped(found, gone)
    if names(kept, gone):
        path.unlink()
        return removed + 1
    if removed:
        with written_aside(path) as aside:
            aside.write_text(json.dumps(kept), encoding="utf-8", errors="surrogatepass")
    return removed


def _lines(path: Path, gone: frozenset[str]) -> int:
    with path.with_suffix(".lock").open("w") as lock:
        flock(lock, LOCK_EX)  # as serving.dead_letters does, which adds to the file
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines(keepends=True)
        kept = [line for line in lines if not names(line, gone)]
        if len(kept) < len(lines):
            with written_aside(path) as aside:
                aside.write_text("".join(kept), encoding="utf-8", errors="surrogateescape")
    return len(lines) - len(kept)


def _csv(path: Path, gone: frozenset[str]) -> int:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as source:
        header, *lines = list(csv.reader(source)) or [[]]
    places = [place for place, name in enumerate(header) if name in KEYS]
    kept = [line for line in lines if not any(p < len(line) and line[p] in gone for p in places)]
    if len(kept) < len(lines):
        with (
            written_aside(path) as aside,
            aside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as out,
        ):
            csv.writer(out, lineterminator="\n").writerows([header, *kept])
    return len(lines) - len(kept)


def _log(path: Path, gone: frozenset[str]) -> int:
    """Blot ids out where they stand: whoever writes the log has it open and goes on at its end.

    An id counts where quotes or its own length tell it from the numbers and words beside it.
    """
    blotted = 0
    with path.open("r+b") as log:
        content = log.read()
        for one in sorted(gone, key=len, reverse=True):
            text = re.escape(one.encode("utf-8", "surrogatepass"))
            quoted = rb"(?<=[\"'])" + text + rb"(?=\\?[\"'])"
            pattern = rb"(?<!\w)" + text + rb"(?!\w)" if len(one) >= TELLING else quoted
            for found in re.finditer(pattern, content):
                log.seek(found.start())
                log.write(b"*" * len(found.group()))
                blotted += 1
    return blotted


def names(value: Any, gone: Collection[str]) -> bool:
    """Tell whether a JSON value, or JSON text in it, names one of the ids under one of KEYS."""
    if isinstance(value, str):
        return value.lstrip()[:1] in ("{", "[") and names(_parsed(value), gone)
    if isinstance(value, dict):
        return any(_is_one(held, gone) if key in KEYS else names(held, gone) for key, held in value.items())
    return isinstance(value, list) and any(names(held, gone) for held in value)


def _is_one(held: Any, gone: Collection[str]) -> bool:
    return any(str(one) in gone for one in held) if isinstance(held, list) else str(held) in gone


def _stripped(value: Any, gone: Collection[str]) -> tuple[Any, int]:
    """Return a JSON value without entries of lists that name somebody, and how many those were."""
    if isinstance(value, dict):
        header, rows = value.get("columns"), value.get("data")
        if isinstance(header, list) and isinstance(rows, list):
            kept = [row for row in rows if not names(dict(zip(header, row, strict=False)), gone)]
            return value | {"data": kept}, len(rows) - len(kept)
        parts = {key: _stripped(held, gone) for key, held in value.items() if key not in KEYS}
        return value | {key: held for key, (held, _) in parts.items()}, sum(n for _, n in parts.values())
    if isinstance(value, list):
        kept = [held for held in value if not names(held, gone)]
        return kept, len(value) - len(kept)
    return value, 0


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
