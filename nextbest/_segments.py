"""`nextbest segment`: counts whom an expression finds, and writes the list where that is asked."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from rich.markup import escape

from features.events._files import written_aside
from nextbest import _screen as screen
from nextbest._saved_segments import saved_segment, saved_segments
from nextbest.bulk import read_contacts
from nextbest.errors import BadInput, NotReady
from nextbest.progress import Progress
from nextbest.settings import Settings
from serving import segments
from serving.expression import Expression
from serving.segments import Selection, read_columns, read_expression
from serving.vocabulary import KNOWN

BY = ("rfm.segment", "lifecycle.stage")
"""What the found are broken down by."""
ENDINGS = (".csv", ".parquet")


@dataclass(frozen=True)
class Condition:
    """A part of the expression's top-level `and`, and how many contacts it finds alone."""

    expression: str
    count: int


@dataclass(frozen=True)
class Group:
    """Contacts of one name: how many are found, of how many."""

    count: int
    total: int


@dataclass(frozen=True)
class SegmentReport:
    """How many are found, and what was written."""

    expression: str
    count: int
    total: int
    share: float
    """count / total"""
    conditions: list[Condition]
    breakdown: dict[str, dict[str, Group]]
    """Column -> name -> contacts, the largest group of the found first."""
    unknown: int = 0
    """Contacts of the file asked for that nothing is known of."""
    file: Path | None = None
    rows: int = 0
    """Written to the file."""


@dataclass(frozen=True)
class Export:
    """Where found contacts are written, what of each (None: what the expression reads), how many at most."""

    file: Path
    columns: Sequence[str] | None = None
    limit: int | None = None


def asked(settings: Settings, text: str | None, name: str | None) -> Expression:
    """Return the expression that is asked, written out or saved. Raises BadInput unless it is one of them."""
    if text is not None and name is None:
        return read_expression(settings, text)
    if name is not None and text is None:
        return saved_segment(settings, name)
    raise BadInput(
        "give an expression, such as 'churn.band == \"high\"', or --name of a saved one, or --list"
    )


def export(out: Path | None, columns: str | None, limit: int | None) -> Export | None:
    """Read the options of the list; None where none is written. Raises BadInput for what does not go."""
    if out is None:
        if columns is not None or limit is not None:
            raise BadInput("--columns and --limit are for --out FILE; without it contacts are counted only")
        return None
    if out.suffix not in ENDINGS or out.is_dir():
        raise BadInput(f"--out {out} is to be a file that ends in {' or '.join(ENDINGS)}")
    return Export(out, None if columns is None else [c.strip() for c in columns.split(",")], limit)


def select(
    settings: Settings,
    expression: Expression,
    progress: Progress,
    export: Export | None = None,
    contacts: Path | None = None,
    by: Sequence[str] = BY,
) -> SegmentReport:
    """Count whom an expression finds among everybody, or a file's contacts, and write them if asked.

    The file appears whole or not at all. Raises BadInput for a file or column that cannot be used, NotReady
    where there is nobody to look at.
    """
    ids = _read(contacts)
    columns = _columns(expression, export)
    selection, rows = Selection(expression, by), 0
    needed = {*selection.columns, *columns}
    with _written(export.file, columns) if export else nullcontext(None) as write:
        for block in segments.profiles(settings, settings.present(), ids, needed, progress):
            found = selection.take(block)
            if write and export:
                chosen = found if export.limit is None else found[: export.limit - rows]
                write(chosen[[*columns]])
                rows += len(chosen)
        if not selection.total:
            raise NotReady("nobody to look at; run: nextbest ingest …, then nextbest features build")
    return SegmentReport(
        expression.text, selection.count, selection.total, selection.count / selection.total,
        [Condition(text, count) for text, count in selection.conditions], _breakdown(selection),
        0 if ids is None else len(ids) - selection.total, export.file if export else None, rows,
    )  # fmt: skip


def _read(contacts: Path | None) -> list[str] | None:
    if contacts is None:
        return None
    if not (found := read_contacts(contacts)):
        raise BadInput(f"{contacts} names no contact")
    return found


def _columns(expression: Expression, export: Export | None) -> tuple[str, ...]:
    if export is None:
        return ()
    return read_columns(expression.names if export.columns is None else export.columns)


@contextmanager
def _written(file: Path, columns: Sequence[str]) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Yield what appends rows to a file, which takes its place when all are there."""
    with written_aside(file) as aside:
        if file.suffix == ".parquet":
            types = {"number": pa.float64(), "name": pa.string()}
            schema = pa.schema({name: types[KNOWN[name]] for name in columns})
            with pq.ParquetWriter(aside, schema) as parquet:
                yield lambda rows: parquet.write_table(
                    pa.Table.from_pandas(rows, schema, preserve_index=False)
                )
        else:
            with aside.open("w", encoding="utf-8", newline="") as csv:
                pd.DataFrame(columns=list(columns)).to_csv(csv, index=False)
                yield lambda rows: rows.to_csv(csv, index=False, header=False)


def _breakdown(selection: Selection) -> dict[str, dict[str, Group]]:
    return {
        column: {name: Group(*counts) for name, counts in sorted(group.items(), key=lambda g: -g[1][0])}
        for column, group in selection.groups.items()
    }


def show_report(report: SegmentReport) -> None:
    """Print how many are found, which condition cuts most, and who they are."""
    screen.say(f"{report.count:,} of {report.total:,} contacts ({report.count / report.total:.1%})")
    if report.unknown:
        screen.say(f"nothing is known of {report.unknown:,} more that the file names")
    if report.conditions:
        rows = [
            (escape(c.expression), f"{c.count:,}", f"{c.count / report.total:.1%}") for c in report.conditions
        ]
        screen.table("each condition alone", ("condition", "contacts", "share"), rows)
    for column, groups in report.breakdown.items():
        found = [
            (name, f"{g.count:,}", f"{g.count / report.count:.1%}", f"{g.count / g.total:.1%} of {g.total:,}")
            for name, g in groups.items()
            if g.count
        ]
        if found:
            screen.table(f"by {column}", (column, "found", "of the segment", "of all such"), found)
    if report.file:
        screen.say(f"written: {report.rows:,} contacts to {escape(str(report.file))}")


def show_saved(settings: Settings, as_json: bool) -> None:
    """Print the saved segments."""
    saved = {name: expression.text for name, expression in saved_segments(settings).items()}
    if as_json:
        screen.show_json(saved)
    else:
        rows = ((escape(name), escape(text)) for name, text in saved.items())
        screen.table("saved segments", ("name", "expression"), rows)
