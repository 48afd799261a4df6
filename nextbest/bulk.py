"""The service's answers for many contacts at once, into one Parquet file."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.events._files import written_aside
from nextbest._bulk_channels import write_channels
from nextbest.errors import BadInput, NotReady
from nextbest.progress import Progress
from nextbest.settings import Settings
from serving.engine import Engine
from serving.profile import known_of
from serving.profiles import Bulk
from serving.refused import Refused, parse
from serving.schemas import TASKS, BestChannelRequest, RecommendationsRequest, Request

BUDGET_MS = 60_000.0
"""Nobody waits for one answer in bulk: a busy machine must not make it fall back."""
CHUNK = 500
"""Contacts answered and written at a time: memory does not grow with their number."""

_TEXT, _NUMBER = pa.string(), pa.float64()
SCHEMAS = {
    "recommendations": pa.schema(
        {"contact_id": _TEXT, "rank": pa.int32(), "item_id": _TEXT, "score": _NUMBER, "probability": _NUMBER,
         "reason": _TEXT, "source": _TEXT}
    ),
    "predictions": pa.schema(
        {"contact_id": _TEXT, "task": _TEXT, "value": _NUMBER, "low": _NUMBER, "high": _NUMBER,
         "percentile": _NUMBER, "band": _TEXT, "source": _TEXT, "horizon_days": _NUMBER,
         "model_version": _TEXT, "fallback": _TEXT,
         **dict.fromkeys(("past", "total", "next_90d", "next_365d", "orders_90d", "orders_365d", "days",
                          "low_days", "high_days"), _NUMBER)}
    ),
}  # fmt: skip
"""Of predictions, past … orders_365d are of the task value; days … high_days of next_order (from now)."""
Asked = TypeVar("Asked", bound=Request)


@dataclass(frozen=True)
class BulkSummary:
    """What was written."""

    file: Path
    contacts: int
    rows: int
    sources: dict[str, int]
    """Source -> rows it gave."""


def score(
    settings: Settings,
    what: str,
    out: Path,
    contacts: Path | None,
    k: int,
    progress: Progress,
    asked: Mapping[str, str] | None = None,
) -> BulkSummary:
    """Answer `what` for the contacts of a file, or for everyone; the file appears whole or not at all.

    `asked` are further fields of every request, as text. Raises BadInput for a file without
    contact ids and for fields that cannot be used, NotReady where there is nobody to answer for.
    """
    write = _writing(what, k, asked or {})
    if out.is_dir():
        raise BadInput(f"--out {out} is a folder; name a file, such as {out / f'{what}.parquet'}")
    out.parent.mkdir(parents=True, exist_ok=True)
    ids = read_contacts(contacts) if contacts else _everyone(settings)
    if contacts and not ids:
        raise BadInput(f"{contacts} names no contact")
    if not ids:
        raise NotReady("nobody to score; run: nextbest ingest …, then nextbest features build")
    patient = settings.model_copy(update={"budget_ms": BUDGET_MS, "campaign_budget_ms": BUDGET_MS})
    return BulkSummary(out, len(ids), *write(patient, out, ids, progress))


def read_contacts(file: Path) -> list[str]:
    """Return the distinct contact_id of a CSV or Parquet file, in order."""
    if not file.exists():
        raise BadInput(f"no file {file}; --contacts takes a CSV or Parquet file with a column contact_id")
    try:
        frame = pd.read_parquet(file) if file.suffix == ".parquet" else _csv(file)
    except (ValueError, OSError) as error:  # pandas' and Arrow's own errors are ValueErrors
        raise BadInput(f"{file} cannot be read as CSV or Parquet with a column contact_id: {error}") from None
    if "contact_id" not in frame.columns:
        raise BadInput(f"{file} has no column contact_id; it has: {', '.join(map(str, frame.columns))}")
    return list(dict.fromkeys(frame["contact_id"].dropna().astype(str)))


def _csv(file: Path) -> pd.DataFrame:
    """Read a CSV by the separator its header has most of."""
    with file.open(encoding="utf-8-sig", errors="replace") as source:
        header = source.readline()
    separator = max(",;\t|", key=header.count)
    return pd.read_csv(file, dtype=str, sep=separator, encoding="utf-8-sig")


def _everyone(settings: Settings) -> list[str]:
    from features.tables import table_path

    table = table_path(settings, "contact_lists")
    if not table.exists():
        raise NotReady("there are no features yet; run: nextbest features build")
    return sorted(pq.read_table(table, columns=["contact_id"])["contact_id"].to_pylist())


Answer = Callable[[Engine, Sequence[str], datetime], Iterator[dict[str, Any]]]
Write = Callable[[Settings, Path, Sequence[str], Progress], tuple[int, dict[str, int]]]
"""Writes the answers for contacts into a file; returns its rows, and how many each source gave."""


def _writing(what: str, k: int, asked: Mapping[str, str]) -> Write:
    """Return what writes; raises BadInput for fields that cannot be asked for."""
    if what == "channels":
        request = _request(BestChannelRequest, {"contact_ids": ["everyone"], **_listed(asked)})
        return lambda settings, out, ids, progress: write_channels(settings, out, ids, request, progress)
    if what == "recommendations":
        ranked = _request(RecommendationsRequest, {"k": k, **asked})
        return partial(_write, what, partial(_recommendations, ranked))
    if asked:
        raise BadInput(f"{', '.join(asked)}: predictions can be asked for contacts only")
    return _write_predictions


def _request(of: type[Asked], fields: Mapping[str, Any]) -> Asked:
    try:
        return parse(of, json.dumps(fields).encode())
    except Refused as refused:
        raise BadInput(refused.message) from None


def _listed(asked: Mapping[str, str]) -> dict[str, Any]:
    """Read `channels` as a list, "a, b"."""
    if "channels" not in asked:
        return dict(asked)
    return {**asked, "channels": [name.strip() for name in asked["channels"].split(",")]}


def _write(
    what: str, answer: Answer, settings: Settings, out: Path, ids: Sequence[str], progress: Progress
) -> tuple[int, dict[str, int]]:
    rows, sources, now = 0, dict[str, int](), settings.present()
    engine = Engine(settings, settings.present)
    try:
        with written_aside(out) as aside, pq.ParquetWriter(aside, SCHEMAS[what]) as writer:
            for start in range(0, len(ids), CHUNK):
                chunk = list(answer(engine, ids[start : start + CHUNK], now))
                writer.write_table(pa.Table.from_pylist(chunk, schema=SCHEMAS[what]))
                rows += len(chunk)
                for row in chunk:
                    sources[row["source"]] = sources.get(row["source"], 0) + 1
                progress(f"score {what}", min(start + CHUNK, len(ids)), len(ids))
    except Refused as refused:
        raise BadInput(refused.message) from None
    finally:
        engine.close()
    return rows, sources


def _recommendations(
    asked: RecommendationsRequest, engine: Engine, ids: Sequence[str], now: datetime
) -> Iterator[dict[str, Any]]:
    for contact_id in ids:
        given = engine.answers.recommendations(asked.model_copy(update={"contact_id": contact_id}), now)
        for rank, item in enumerate(given.items, 1):
            yield {
                "contact_id": contact_id, "rank": rank, "item_id": item.item_id, "score": item.score,
                "probability": item.probability, "reason": json.dumps(item.reason.model_dump(), default=str),
                "source": given.source,
            }  # fmt: skip


def _write_predictions(
    settings: Settings, out: Path, ids: Sequence[str], progress: Progress
) -> tuple[int, dict[str, int]]:
    """Write every task of every contact, block by block: the last build's tables and the log's news."""
    now, rows, sources = settings.present(), 0, Counter[str]()
    bulk, done = Bulk(settings), 0
    try:
        with written_aside(out) as aside, pq.ParquetWriter(aside, SCHEMAS["predictions"]) as writer:
            for block in bulk.rows(ids, now):
                found = bulk.profiler.ladders.frame(block, TASKS, known_of(block))
                for task in TASKS:
                    table = _of_task(task, block["contact_id"].to_numpy(), found)
                    writer.write_table(table)
                    rows += len(table)
                    sources.update(found[f"{task}.source"].tolist())
                done += len(block)
                progress("score predictions", done, len(ids))
    finally:
        bulk.close()
    return rows, dict(sources)


def _of_task(task: str, contact_ids: Any, found: pd.DataFrame) -> pa.Table:
    """Return one task's rows; churn's `value` is its probability, the others' are amounts."""
    elsewhere = {"value": "probability" if task == "churn" else "value", "model_version": "version"}
    given: dict[str, Any] = {"contact_id": contact_ids, "task": [task] * len(found)}
    given |= {
        name: found.get(f"{task}.{elsewhere.get(name, name)}", [None] * len(found))
        for name in SCHEMAS["predictions"].names
        if name not in given
    }
    arrays = [pa.array(given[field.name], field.type, from_pandas=True) for field in SCHEMAS["predictions"]]
    return pa.Table.from_arrays(arrays, schema=SCHEMAS["predictions"])
