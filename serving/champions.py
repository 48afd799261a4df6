"""The champion of each task: alias -> loaded model, checked before it answers, swapped while serving."""

import logging
import os
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import yaml

from models.artifact import load
from models.base import Model
from nextbest.errors import ArtifactError, NotReady
from nextbest.settings import Settings
from serving.golden import GOLDEN

log = logging.getLogger("nextbest.champions")

ALIAS = "champion"
TASKS = ("next-purchase", "basket", "churn", "value", "channel", "rfm", "replenishment", "lifecycle")
SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Loaded:
    """A model that answers, and the registered version it is: "nextbest-churn/3"."""

    task: str
    version: str
    model: Any
    simulated: bool = False
    """Learned from simulated data: it shows how things work and decides for nobody, unless asked to."""


@dataclass(frozen=True)
class Status:
    """How a task stands: what is served, and what kept a newer champion out (null: nothing)."""

    version: str | None
    champion: str | None
    error: str | None


@dataclass
class _Slot:
    loaded: Loaded | None = None
    seen: str | None = None
    error: str | None = None


class Champions:
    """Polls the registry in a thread of its own; `get` only reads a reference.

    A version is loaded through models.artifact (checksums), asked a golden question, and only then takes the
    place of the one before. Whatever goes wrong on the way, the old one goes on answering; `status` says why.
    """

    def __init__(
        self,
        settings: Settings,
        golden: Mapping[str, Callable[[Any], None]] = GOLDEN,
        warm: Callable[[str, Any], None] = lambda *_: None,
        tasks: Sequence[str] = TASKS,
    ) -> None:
        """Take the golden questions by task, what else a model is to do before it serves, and the tasks."""
        self._settings, self._golden, self._warm = settings, golden, warm
        self._slots = {task: _Slot() for task in tasks}
        self._registry_error: str | None = "not asked yet"
        self._stamp: object = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._client: Any = None

    def get(self, task: str) -> Loaded | None:
        """Return the task's champion; None while there is none that works. Raises KeyError for no task."""
        return self._slots[task].loaded

    def why_none(self, task: str) -> str:
        """Return the reason code where `get` gave None."""
        if self._slots[task].error is not None:
            return "model_failed"
        return "no_champion" if self._registry_error is None else "registry_unavailable"

    @property
    def registry_error(self) -> str | None:
        """What kept the registry from answering the last time it was asked."""
        return self._registry_error

    def status(self) -> dict[str, Status]:
        """Return how every task stands."""
        return {
            task: Status(
                slot.loaded.version if slot.loaded else None, slot.seen, slot.error or self._registry_error
            )
            for task, slot in self._slots.items()
        }

    def start(self) -> "Champions":
        """Load what there is, then go on looking every settings.champions_poll_seconds."""
        self.refresh()
        self._thread = threading.Thread(target=self._run, name="champions", daemon=True)
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop looking."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5.0)

    def refresh(self) -> None:
        """Look once; never raises."""
        try:
            stamp = _stamp(self._settings.mlflow_uri)
            if stamp is not None and stamp == self._stamp and not any(s.error for s in self._slots.values()):
                return
            champions = self._champions()
        except Exception as error:
            self._stamp = None
            if str(error) != self._registry_error:
                log.warning("the model registry does not answer: %s", error)
            self._registry_error = str(error) or type(error).__name__
            return
        self._registry_error = None
        for task in self._slots:
            self._follow(task, champions.get(task))
        self._stamp = stamp

    def _run(self) -> None:
        while not self._stop.wait(self._settings.champions_poll_seconds):
            self.refresh()

    def _follow(self, task: str, champion: "_Version | None") -> None:
        slot = self._slots[task]
        if champion is None:
            slot.loaded, slot.seen, slot.error = None, None, None
            return
        if slot.seen == champion.name and slot.error is None:
            return
        slot.seen = champion.name
        try:
            loaded = Loaded(task, champion.name, self._checked(task, champion), champion.simulated)
        except Exception as error:
            said = f"{champion.name}: {error}"
            if said != slot.error:
                log.exception(
                    "champion %s is not taken; %s stays", champion.name, slot.loaded and slot.loaded.version
                )
            slot.error = said
            return
        slot.loaded, slot.error = loaded, None
        log.info("champion %s answers now", champion.name)

    def _checked(self, task: str, champion: "_Version") -> Model:
        model = load(_artifact_folder(champion.location()))
        self._golden[task](model)
        self._warm(task, model)
        return model

    def _champions(self) -> "dict[str, _Version]":
        client = self._connect()
        found = {}
        for task in self._slots:
            name = f"nextbest-{task}"
            champion = _by_alias(client, name)
            if champion is not None:
                simulated = champion.tags.get("simulated") == "true"
                found[task] = _Version(name, str(champion.version), simulated, client)
        return found

    def _connect(self) -> Any:
        if self._client is None:
            # a connection kept open would go on reading a database file that has been replaced
            os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
            for chatty in ("mlflow", "alembic"):
                logging.getLogger(chatty).setLevel(logging.WARNING)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # SQLAlchemy deprecates what MLflow's tables are made with
                from mlflow import MlflowClient

                self._client = MlflowClient(self._settings.mlflow_uri, self._settings.mlflow_uri)
                self._client.search_registered_models(max_results=1)  # makes the mappers, once a process
        return self._client


@dataclass(frozen=True)
class _Version:
    registered: str
    number: str
    simulated: bool
    client: Any = field(repr=False)

    @property
    def name(self) -> str:
        return f"{self.registered}/{self.number}"

    def location(self) -> Path:
        """Return the folder of the logged model, fetched only where it is not on this machine."""
        uri = str(self.client.get_model_version_download_uri(self.registered, self.number))
        parts = urlparse(uri)
        if parts.scheme in ("", "file"):
            return Path(unquote(parts.path))
        from mlflow.artifacts import download_artifacts

        return Path(download_artifacts(artifact_uri=uri, tracking_uri=self.client.tracking_uri))


def _by_alias(client: Any, name: str) -> Any | None:
    """Return the version the alias points to; None where the model or the alias does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, ALIAS)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _artifact_folder(model: Path) -> Path:
    """Return the folder with our own files inside a logged pyfunc model. Raises ArtifactError."""
    try:
        flavours = yaml.safe_load((model / "MLmodel").read_text(encoding="utf-8"))["flavors"]
        return model / str(flavours["python_function"]["data"])
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ArtifactError(f"{model} is not a logged model: {error!r}") from None


def _stamp(uri: str) -> object:
    """Return what changes whenever a SQLite registry is written to; None for other registries.

    Raises NotReady where the file is missing: the client would create an empty registry in its place.
    """
    if not uri.startswith(SQLITE):
        return None
    path = Path(uri.removeprefix(SQLITE))
    try:
        stats = [
            file.stat()
            for file in (path, path.with_name(path.name + "-wal"))
            if file is path or file.exists()
        ]
    except FileNotFoundError:
        raise NotReady(f"no model registry at {path}; run: nextbest train all") from None
    return tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats)
