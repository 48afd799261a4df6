"""The feature store: training asks `historical`, serving asks `online`, both the same named service.

The only file that imports feast (seconds), and only when it is first used.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from string import Template
from threading import Lock
from typing import Any

import pandas as pd
import yaml

from features.errors import StoreUnavailable
from features.state import LISTS_AS_OF, LISTS_AT, NAME_ARRAYS
from nextbest.columns import ARRAY_COLUMNS, AS_OF, CONTACT_ID, COUNTER_COLUMNS, TIME_COLUMNS, TIMESTAMP
from nextbest.errors import NotReady
from nextbest.progress import Progress, silent
from nextbest.settings import Settings

REPOSITORY = Path(__file__).parent / "feature_repo"
ERASED = -1
"""The position in the row of a contact that was erased."""
ONLINE_VIEWS = {
    "contact": (AS_OF, *COUNTER_COLUMNS, *TIME_COLUMNS),
    "contact_lists": (LISTS_AS_OF, LISTS_AT, *ARRAY_COLUMNS),
}
"""View that can be asked online -> its columns."""
BATCH = 500
"""Contacts stored in one transaction: short enough not to hold up the readers."""


class Store:
    """Feast over the state folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._services: dict[str, Any] = {}
        self._lock = Lock()

    def apply(self) -> None:
        """Register entities, views and services; doing it again changes nothing."""
        from features.feature_repo.definitions import repository

        self._settings.home.mkdir(parents=True, exist_ok=True)
        self._feast.apply(repository(self._settings.tables))
        self._feast.refresh_registry()
        _let_readers_pass(self._online_file)

    def write(self, view: str, frame: pd.DataFrame, progress: Progress = silent) -> int:
        """Put rows (contact_id, timestamp, the view's columns) online; returns how many."""
        for start in range(0, len(frame), BATCH):
            self._feast.write_to_online_store(view, frame.iloc[start : start + BATCH])
            progress(f"online {view}", min(start + BATCH, len(frame)), len(frame))
        return len(frame)

    def historical(self, service: str, spine: pd.DataFrame) -> pd.DataFrame:
        """Return the spine (contact_id, timestamp) with the service's columns as known at each timestamp.

        The row's order and index are the spine's; columns are NaN where nothing had happened by then.
        """
        if not len(spine):
            return spine.copy()
        moments = pd.to_datetime(spine[TIMESTAMP], utc=True).astype("datetime64[us, UTC]")
        asked = pd.DataFrame(
            {
                CONTACT_ID: spine[CONTACT_ID].astype(str).to_numpy(),
                "event_timestamp": moments.array,
                "spine_row": range(len(spine)),
            }
        )
        job = self._feast.get_historical_features(entity_df=asked, features=self._service(service))
        found = job.to_df().sort_values("spine_row").drop(columns="spine_row")
        return found.rename(columns={"event_timestamp": TIMESTAMP}).set_axis(spine.index)

    def online(self, service: str, contact_ids: Sequence[str]) -> list[dict[str, Any] | None]:
        """Return each contact's stored row, None for one that has none. Raises StoreUnavailable."""
        if not contact_ids:
            return []
        try:
            with self._lock:
                response = self._feast.get_online_features(
                    features=self._service(service), entity_rows={CONTACT_ID: list(contact_ids)}
                )
        except NotReady:
            raise
        except Exception as error:
            raise StoreUnavailable(f"the online store did not answer: {error}") from error
        return _rows(response.proto, contact_ids)

    def erase(self, contact_ids: Sequence[str]) -> None:
        """Blank the contacts' online rows, on any online store; on SQLite the rows go altogether.

        Feast has no call that deletes a row.
        """
        if not contact_ids:
            return
        moment = pd.Timestamp(0, tz="UTC").as_unit("us")
        blank = pd.DataFrame({CONTACT_ID: list(contact_ids), TIMESTAMP: moment})
        for view, columns in ONLINE_VIEWS.items():
            values = {name: [_blank(name)] * len(blank) for name in columns}
            self._feast.write_to_online_store(view, blank.assign(**values))
        if self._online_file.exists():
            _delete(self._online_file, [f"nextbest_{view}" for view in ONLINE_VIEWS], list(contact_ids))

    @property
    def _online_file(self) -> Path:
        return self._settings.home.resolve() / "online.db"

    @cached_property
    def _feast(self) -> Any:
        from feast import FeatureStore
        from feast.repo_config import RepoConfig

        text = (REPOSITORY / "feature_store.yaml").read_text(encoding="utf-8")
        home = str(self._settings.home.resolve())
        config = yaml.safe_load(Template(text).substitute(NEXTBEST_HOME=home))
        return FeatureStore(config=RepoConfig(**config, repo_path=REPOSITORY))

    def _service(self, name: str) -> Any:
        if name not in self._services:
            from feast.errors import FeatureServiceNotFoundException

            try:
                self._services[name] = self._feast.get_feature_service(name)
            except FeatureServiceNotFoundException as error:
                known = ", ".join(sorted(service.name for service in self._feast.list_feature_services()))
                hint = f"known: {known}" if known else "run: nextbest features build"
                raise NotReady(f"no feature service {name!r}; {hint}") from error
        return self._services[name]


def _rows(proto: Any, contact_ids: Sequence[str]) -> list[dict[str, Any] | None]:
    """Turn a response's columns into rows, by hand: Feast's own to_dict takes as long as the lookup."""
    rows: list[dict[str, Any]] = [{} for _ in contact_ids]
    for name, result in zip(proto.metadata.feature_names.val, proto.results, strict=True):
        for row, value in zip(rows, result.values, strict=True):
            row[name] = _plain(value)
    return [row if (row[AS_OF] is not None and row[AS_OF] != ERASED) else None for row in rows]


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("val")
    if kind is None:
        return None
    plain = getattr(value, kind)
    return plain.val if kind.endswith("_list_val") else plain


def _let_readers_pass(path: Path) -> None:
    """Keep readers of the SQLite file from waiting for a writer; the mode stays with the file."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _delete(path: Path, tables: Sequence[str], contact_ids: Sequence[str]) -> None:
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    keys = [
        (serialize_entity_key(EntityKey(join_keys=[CONTACT_ID], entity_values=[Value(string_val=i)]), 3),)
        for i in contact_ids
    ]
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        for table in tables:
            connection.executemany(f'DELETE FROM "{table}" WHERE entity_key = ?', keys)  # noqa: S608 - our own names
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _blank(name: str) -> Any:
    if name in ARRAY_COLUMNS:
        return [] if name not in NAME_ARRAYS else [""]
    return ERASED if name in (AS_OF, LISTS_AS_OF) else None
