"""`nextbest score channels`: block by block, each kept when it is done: a run that was killed goes on."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.events._files import written_aside
from features.tables import table_path
from nextbest.columns import CONTACT_ID
from nextbest.progress import Progress
from nextbest.settings import Settings
from serving.channel_bulk import SCHEMA, ChannelBulk
from serving.schemas import BestChannelRequest

GOES_ON = timedelta(hours=1)
"""A run that was killed goes on within this time, with the moment it had taken for the present."""
STAGE = "score channels"
DECIDING = {
    "channels", "default_channel", "unknown_consent", "unknown_reach", "unsubscribe_cost", "serve_simulated",
    "message_holdout_share", "message_holdout_salt",
}  # fmt: skip
"""Settings that a decision rests on."""


def write_channels(
    settings: Settings,
    out: Path,
    contact_ids: Sequence[str],
    asked: BestChannelRequest,
    progress: Progress,
) -> tuple[int, dict[str, int]]:
    """Decide for contacts into one Parquet file; returns its rows, and how many each source gave.

    Blocks lie in a folder beside the file until all are done. The same call again, within an hour and with
    the same model, leaves out what is done, but for those who did something since it began: they may have
    unsubscribed. Decisions of a campaign go into the decision log.
    """
    parts = out.with_name(f".{out.name}.parts")
    begun = _begun(parts, settings.present())
    bulk = ChannelBulk(settings, begun or settings.present())
    try:
        task = _task(settings, contact_ids, asked, bulk.version)
        told = _told(parts)
        if begun is not None and told.get("task") == task:
            _forget(parts, bulk.newer(told.get("position", 0)))
        else:
            bulk.now = settings.present()
            shutil.rmtree(parts, ignore_errors=True)
            parts.mkdir(parents=True)
            run = {"task": task, "now": bulk.now.isoformat(), "position": bulk.begun}
            with written_aside(parts / "run.json") as aside:
                aside.write_text(json.dumps(run))
        return _blocks(bulk, parts, out, contact_ids, asked, progress)
    finally:
        bulk.close()


def _blocks(
    bulk: ChannelBulk,
    parts: Path,
    out: Path,
    contact_ids: Sequence[str],
    asked: BestChannelRequest,
    progress: Progress,
) -> tuple[int, dict[str, int]]:
    files = sorted(parts.glob("*.parquet"))
    # by contact and not by block: what happened meanwhile may have put contacts into other blocks
    decided_before = {who for file in files for who in _ids(file)}
    done = len(decided_before)
    for block, from_tables in bulk.blocks([who for who in contact_ids if who not in decided_before]):
        file = parts / f"{len(files):06}.parquet"
        decided = bulk.decide(block, from_tables, asked)
        with written_aside(file) as aside:
            pq.write_table(decided, aside)
            if asked.campaign_id is not None:
                bulk.record(decided, asked)
        files.append(file)
        done += len(block)
        progress(STAGE, done, len(contact_ids))
    rows, sources = 0, dict[str, int]()
    with written_aside(out) as aside, pq.ParquetWriter(aside, SCHEMA) as writer:
        for file in files:
            table = pq.read_table(file).select(SCHEMA.names)
            writer.write_table(table)
            rows += len(table)
            for counted in table["source"].value_counts().to_pylist():
                sources[counted["values"]] = sources.get(counted["values"], 0) + counted["counts"]
    shutil.rmtree(parts, ignore_errors=True)
    return rows, sources


def _forget(parts: Path, contacts: set[str]) -> None:
    """Take contacts out of the blocks that are done: they are decided again."""
    asked = pa.array(sorted(contacts), pa.string())
    for file in parts.glob("*.parquet"):
        table = pq.read_table(file)
        kept = table.filter(pc.invert(pc.is_in(table[CONTACT_ID], asked)))
        if len(kept) < len(table):
            with written_aside(file) as aside:
                pq.write_table(kept, aside)


def _ids(file: Path) -> list[str]:
    ids: list[str] = pq.read_table(file, columns=[CONTACT_ID])[CONTACT_ID].to_pylist()
    return ids


def _begun(parts: Path, now: datetime) -> datetime | None:
    """Return the moment that a run to go on with had taken for the present; None where there is none."""
    told = _told(parts).get("now")
    begun = None if told is None else datetime.fromisoformat(told)
    return begun if begun is not None and timedelta(0) <= now - begun <= GOES_ON else None


def _told(parts: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((parts / "run.json").read_text())
    except (OSError, ValueError):
        return {}
    return found


def _task(
    settings: Settings, contact_ids: Sequence[str], asked: BestChannelRequest, version: str | None
) -> str:
    """Return what tells one run from another: who, what, by which model, settings and build."""
    told = hashlib.sha256(asked.model_dump_json(exclude={"contact_ids"}).encode())
    told.update(f"{version} {table_path(settings, 'contact_lists').stat().st_mtime_ns}".encode())
    told.update(settings.model_dump_json(include=DECIDING).encode())
    for contact_id in contact_ids:
        told.update(contact_id.encode() + b"\0")
    return told.hexdigest()
