"""One small real world for every test that needs one: ingested, built and trained by the real functions."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from nextbest.settings import Settings

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
os.environ.pop("COLUMNS", None)  # several processes that test are told a width, and one is not
HOUSEHOLDS = 260
"""As few as churn can be calibrated on."""
QUICK = {
    "basket": {"lift_weight": "0.5"},
    "channel": {"log": "simulated"},
    "next-purchase": {
        "epochs": "1",
        "width": "16",
        "length": "20",
        "negatives": "32",
        "min_count": "60",
        "contacts": "60",
        "every_days": "30",
        "rounds": "20",
    },
}
"""Options by job: good enough to serve, learned in seconds."""


@dataclass(frozen=True)
class World:
    """A state folder with everything in it; read it, and change only a `copy`."""

    settings: Settings
    now: datetime

    @property
    def contacts(self) -> list[str]:
        """Every contact with a feature row, sorted."""
        table = pq.read_table(self.settings.tables / "contact_lists.parquet", columns=["contact_id"])
        return sorted(table["contact_id"].to_pylist())

    @property
    def items(self) -> list[str]:
        """Every item that was sold, sorted."""
        table = pq.read_table(self.settings.tables / "item.parquet", columns=["item_id"])
        return sorted(set(table["item_id"].to_pylist()))

    def copy(self, home: Path) -> "World":
        """Return the same world in another folder, for tests that break it."""
        before = self.settings.home.resolve()
        shutil.copytree(before, home)
        _move_registry(home / "mlflow.db", str(before), str(home.resolve()))
        return replace(self, settings=self.settings.model_copy(update={"home": home}))


def _move_registry(file: Path, before: str, after: str) -> None:
    """Rewrite the places of artifacts, which MLflow keeps as absolute paths."""
    with closing(sqlite3.connect(file)) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            for column in (c for c in columns if "location" in c or "uri" in c or c == "source"):
                change = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"  # noqa: S608
                connection.execute(change, (before, after))
        connection.commit()


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world of 260 households, their year moved to end at NOW; every model trained is champion.

    Where several processes test, the first to ask makes it for all.
    """
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    settings = Settings(home=folder / "world", now=NOW, workers=1)
    with FileLock(folder / "world.lock"):
        if not (folder / "world.made").exists():
            _fill(settings)
            (folder / "world.made").touch()
    return World(settings, NOW)


def _fill(settings: Settings) -> None:
    from features.build import build
    from features.events.ingest import ingest
    from training.base import Context
    from training.jobs import jobs_found
    from training.runner import train
    from training.tracking import Registry

    ingest(settings, "complete-journey", now=NOW, shift_to_today=True, households=HOUSEHOLDS)
    build(settings, NOW)
    for name in jobs_found():
        train([name], Context(settings, NOW, settings.seed, QUICK.get(name, {})))
    registry = Registry(settings)
    for row in registry.list():
        # so small a world seldom lets a model win surely; what is tested here is what serves, not what wins
        if row["champion"] is None and row["newest"] is not None:
            registry.promote(row["model"], row["newest"], "the test world serves it", NOW)


@pytest.fixture
def broken_world(world: World, tmp_path: Path) -> Callable[[], World]:
    """Return a function that gives a copy of the world to break."""
    copies = iter(range(1000))
    return lambda: world.copy(tmp_path / f"copy-{next(copies)}")
