"""Delimited text of any encoding, separator and compression, staged as Parquet of text columns."""

import codecs
import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from nextbest.errors import BadInput
from nextbest.progress import Progress

DELIMITERS = (",", ";", "\t", "|")
RAGGED = "ragged"
LINE = "line"
_ROWS = 100_000
_SAMPLE = 50
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Staged:
    """A file's rows in Parquet: `line` (1 is the first after the header), c0, c1, … as text, `ragged`.

    `ragged` says why a row does not fit the header; null where it does.
    """

    path: Path
    columns: list[str]
    """The names of c0, c1, …"""
    rows: int
    notes: tuple[str, ...] = ()


def stage(source: Path, wanted: Sequence[str], folder: Path, progress: Progress) -> Staged:
    """Read a delimited file; `wanted` are column names it should have, which tell the separator."""
    encoding = _encoding(source)
    delimiter = _delimiter(source, encoding, wanted)
    path, rows = folder / "rows.parquet", 0
    with _text(source, encoding) as text:
        records = _Records(text, delimiter)
        header = [name.strip() for name in next(iter(records), [])]
        if not header:
            raise BadInput(f"{source} is empty")
        schema = pa.schema(
            [(LINE, pa.int64()), *((f"c{n}", pa.string()) for n in range(len(header))), (RAGGED, pa.string())]
        )
        with pq.ParquetWriter(path, schema) as writer:
            for block in records.blocks(len(header)):
                columns = [pa.array(column, pa.string()) for column in zip(*block, strict=True)]
                lines = pa.array(range(rows + 1, rows + len(block) + 1), pa.int64())
                writer.write_table(pa.table([lines, *columns], schema=schema))
                rows += len(block)
                progress("reading the file", rows, 0)
    if not rows:
        raise BadInput(f"{source} has a header and no rows")
    name = {"\t": "tab"}.get(delimiter, delimiter)
    return Staged(path, header, rows, (f"read as {encoding}, separated by {name}",))


def _encoding(source: Path) -> str:
    """By the byte order mark; else UTF-8 where the whole file is, else cp1252, else latin-1."""
    with _bytes(source) as data:
        start = data.read(4)
    for bom, name in _BOMS:
        if start.startswith(bom):
            return name
    return next(name for name in ("utf-8", "cp1252", "latin-1") if _decodes(source, name))


def _decodes(source: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    with _bytes(source) as data:
        try:
            while piece := data.read(1 << 20):
                decoder.decode(piece)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _bytes(source: Path) -> BinaryIO:
    with source.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(source)) if zipped else source.open("rb")


def _text(source: Path, encoding: str) -> TextIO:
    return io.TextIOWrapper(_bytes(source), encoding=encoding, newline="")


def _delimiter(source: Path, encoding: str, wanted: Sequence[str]) -> str:
    """The separator whose header has most of the wanted columns; then the one that cuts all rows alike."""
    with _text(source, encoding) as text:
        sample = [line for line in (text.readline() for _ in range(_SAMPLE)) if line.strip()]

    def fitness(delimiter: str) -> tuple[int, float, int]:
        rows = list(csv.reader(sample, delimiter=delimiter))
        widths = [len(row) for row in rows]
        header = {name.strip() for name in rows[0]} if rows else set()
        alike = sum(width == widths[0] for width in widths) / len(widths) if rows and widths[0] > 1 else 0.0
        return len(header.intersection(wanted)), alike, widths[0] if widths else 0

    return max(DELIMITERS, key=fitness)


class _Records:
    """Cuts text into records; a stray quote spoils the rows it swallowed, not the file."""

    def __init__(self, text: TextIO, delimiter: str) -> None:
        self._held: list[str] = []
        self._lines = self._hold(text)
        self._delimiter = delimiter

    def _hold(self, text: TextIO) -> Iterator[str]:
        for line in text:
            self._held.append(line)
            yield line

    def __iter__(self) -> Iterator[list[str]]:
        self._held.clear()
        while True:
            reader = csv.reader(self._lines, delimiter=self._delimiter)
            try:
                for row in reader:
                    yield row
                    self._held.clear()
            except csv.Error:  # a field without end: the quote that began it was none
                yield from self._unquoted()
                self._held.clear()
            else:
                return

    def blocks(self, width: int) -> Iterator[list[list[str | None]]]:
        """Yield blocks of rows with width + 1 cells, the last one saying why a row is ragged."""
        block: list[list[str | None]] = []
        for row in self:
            fits = len(row) == width
            if not fits and len(self._held) > 1:
                block += [_fitted(r, width) for r in self._unquoted() if any(r)]
            elif fits:
                block.append([*row, None])
            elif any(row):
                block.append(_fitted(row, width))
            if len(block) >= _ROWS:
                yield block
                block = []
        if block:
            yield block

    def _unquoted(self) -> list[list[str]]:
        return list(csv.reader(list(self._held), delimiter=self._delimiter, quoting=csv.QUOTE_NONE))


def _fitted(row: list[str], width: int) -> list[str | None]:
    """Cut or fill a row to the header's width; empty cells beyond it do not count."""
    extra = row[width:]
    if len(row) >= width and not any(extra):
        return [*row[:width], None]
    why = f"{len(row)} cells under {width} columns"
    kept = [*row[: width - 1], " ".join(row[width - 1 :])] if extra else row
    return [*kept, *([None] * (width - len(kept))), why]
