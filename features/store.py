"""The feature store: training asks `historical`, serving asks `online`, both the same named service.

The only file that imports feast (seconds), and only when it is first used.
"""

import os
import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from string import Template
from threading import Lock
from typing import Any

import pandas as pd
import yaml

from features.errors import StoreUnavailable
from features.state import LISTS_AS_OF, LISTS_AT, NAME_ARRAYS
from features.tables import connected
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
PROMETHEUS_FOLDERS = ("PROMETHEUS_MULTIPROCESS_DIR", "PROMETHEUS_MULTIPROC_DIR")
BACKEND_LOCK = Lock()
BATCH = 500
"""Contacts stored in one transaction: short enough not to hold up the readers."""


class Store:
    """Feast over the state folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._services: dict[str, Any] = {}
        self._views: dict[str, list[tuple[Any, list[str]]]] = {}
        self._watching: tuple[int, sqlite3.Connection] | None = None
        self._lock = Lock()

    def apply(self) -> None:
        """Register entities, views and services; doing it again changes nothing."""
        _import_feast()
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
        features = self._service(service)
        with _backend_of_feast(self._settings.tables):
            found = self._feast.get_historical_features(entity_df=asked, features=features).to_df()
        found = found.sort_values("spine_row").drop(columns="spine_row")
        return found.rename(columns={"event_timestamp": TIMESTAMP}).set_axis(spine.index)

    def online(self, service: str, contact_ids: Sequence[str]) -> list[dict[str, Any] | None]:
        """Return each contact's stored row, None for one that has none. Raises StoreUnavailable."""
        if not contact_ids:
            return []
        try:
            with self._lock:
                return self._read(service, contact_ids)
        except NotReady:
            raise
        except Exception as error:
            raise StoreUnavailable(f"the online store did not answer: {error}") from error

    def _read(self, service: str, contact_ids: Sequence[str]) -> list[dict[str, Any] | None]:
        """Read the service's views row by row, as get_online_features does before it builds its response.

        The response of columns, which would only be turned into rows again, takes it longer than reading.
        """
        from feast.protos.feast.types.EntityKey_pb2 import EntityKey
        from feast.protos.feast.types.Value_pb2 import Value

        views = self._views_of(service)
        keys = [EntityKey(join_keys=[CONTACT_ID], entity_values=[Value(string_val=i)]) for i in contact_ids]
        rows: list[dict[str, Any]] = [{} for _ in contact_ids]
        for view, columns in views:
            found = self._provider.online_read(self._feast.config, view, keys, columns)
            for row, (_, values) in zip(rows, found, strict=True):
                row.update(dict.fromkeys(columns))
                row.update({name: _plain(value) for name, value in (values or {}).items() if name in row})
        return [row if row[AS_OF] is not None and row[AS_OF] != ERASED else None for row in rows]

    def stamp(self) -> object | None:
        """Return what is another after anything was written online, by any process; None: cannot be told.

        SQLite keeps count for each connection (PRAGMA data_version, microseconds); another file in the old
        one's place is noticed too. For other stores nothing as cheap is known.
        """
        try:
            found = self._online_file.stat()
            with self._lock:
                held = self._watching
                if held is None or held[0] != found.st_ino:
                    if held is not None:
                        held[1].close()
                    address = f"{self._online_file.as_uri()}?mode=ro"
                    watching = sqlite3.connect(address, uri=True, check_same_thread=False)
                    held = self._watching = (found.st_ino, watching)
                return held[0], id(held[1]), held[1].execute("PRAGMA data_version").fetchone()[0]
        except (OSError, sqlite3.Error):
            return None

    def erase(self, contact_ids: Sequence[str]) -> None:
        """Remove contacts from the online store: SQLite's rows altogether, other stores' rows are blanked.

        Feast has no call that deletes a row.
        """
        if contact_ids and self._online_file.exists():
            _delete(self._online_file, [f"nextbest_{view}" for view in ONLINE_VIEWS], contact_ids)
        elif contact_ids:
            blank = pd.DataFrame(
                {CONTACT_ID: list(contact_ids), TIMESTAMP: pd.Timestamp(0, tz="UTC").as_unit("us")}
            )
            for view, columns in ONLINE_VIEWS.items():
                values = {name: [_blank(name)] * len(blank) for name in columns}
                self._feast.write_to_online_store(view, blank.assign(**values))

    @cached_property
    def _online_file(self) -> Path:
        return self._settings.home.resolve() / "online.db"

    @cached_property
    def _feast(self) -> Any:
        feast = _import_feast()
        text = (REPOSITORY / "feature_store.yaml").read_text(encoding="utf-8")
        home = str(self._settings.home.resolve())
        config = yaml.safe_load(Template(text).substitute(NEXTBEST_HOME=home))
        return feast.FeatureStore(config=feast.RepoConfig(**config, repo_path=REPOSITORY))

    @cached_property
    def _provider(self) -> Any:
        _import_feast()
        from feast.infra.provider import get_provider

        return get_provider(self._feast.config)

    def _views_of(self, service: str) -> list[tuple[Any, list[str]]]:
        """Return the views of a service with the columns asked of each."""
        if service not in self._views:
            projections = self._service(service).feature_view_projections
            self._views[service] = [
                (self._feast.get_feature_view(one.name), [feature.name for feature in one.features])
                for one in projections
            ]
        return self._views[service]

    def _service(self, name: str) -> Any:
        if name not in self._services:
            if not (self._settings.home / "registry.db").exists():
                raise NotReady(f"no feature store in {self._settings.home}; run: nextbest features build")
            not_found = _import_feast().errors.FeatureServiceNotFoundException
            try:
                self._services[name] = self._feast.get_feature_service(name)
            except not_found as error:
                known = ", ".join(sorted(service.name for service in self._feast.list_feature_services()))
                hint = f"known: {known}" if known else "run: nextbest features build"
                raise NotReady(f"no feature service {name!r}; {hint}") from error
        return self._services[name]


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("val")
    if kind is None:
        return None
    plain = getattr(value, kind)
    return plain.val if kind.endswith("_list_val") else plain


def _import_feast() -> Any:
    """Import feast without what its import does to the process besides.

    feast.metrics, which the first online read imports, switches prometheus_client to files in a temporary
    folder, here and in every child process, unless that was imported before; other modules turn on all
    deprecation warnings.
    """
    import prometheus_client.values  # noqa: F401 - decides on its mode when imported

    found = {name: os.environ.get(name) for name in PROMETHEUS_FOLDERS}
    with warnings.catch_warnings():
        import feast
        import feast.errors
        import feast.metrics
    for name, value in found.items():
        if value is None:
            os.environ.pop(name, None)
    return feast


@contextmanager
def _backend_of_feast(spill: Path) -> Iterator[None]:
    """Give Feast, which works in Ibis' default backend, one that is bounded and closed at the end."""
    import ibis

    with BACKEND_LOCK, connected(spill) as backend:
        before = ibis.options.default_backend
        ibis.set_backend(backend)
        try:
            yield
        finally:
            ibis.options.default_backend = before


def _let_readers_pass(path: Path) -> None:
    """Keep readers of the SQLite file from waiting for a writer; the mode stays with the file."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _delete(path: Path, tables: Sequence[str], contact_ids: Sequence[str]) -> None:
    """Delete the contacts' rows and every earlier copy of them in the file.

    secure_delete blanks the rows that are deleted here, but not what Feast's own writes left behind before:
    free pages and cells that moved when a page was split. So the file is written anew (VACUUM). Raises
    StoreUnavailable where a reader keeps the old pages for half a minute; erasing again ends it.
    """
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    keys = [
        (serialize_entity_key(EntityKey(join_keys=[CONTACT_ID], entity_values=[Value(string_val=i)]), 3),)
        for i in contact_ids
    ]
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        connection.execute("PRAGMA secure_delete = ON")
        for table in tables:
            connection.executemany(f'DELETE FROM "{table}" WHERE entity_key = ?', keys)  # noqa: S608 - our own names
        connection.commit()
        connection.execute("VACUUM")
        (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise StoreUnavailable(f"{path} is being read, so what was erased still stands in it; erase again")


def _blank(name: str) -> Any:
    if name in ARRAY_COLUMNS:
        return [] if name not in NAME_ARRAYS else [""]
    return ERASED if name in (AS_OF, LISTS_AS_OF) else None
