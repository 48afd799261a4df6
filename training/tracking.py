"""MLflow: runs, registered models and the alias that says which version serves. Nothing else here imports it.

A job's versions are registered as `nextbest-<job>`; the one that serves has the alias `champion`. Logged are:

    run      params, metrics, tags; figures/*.png, tables/*.csv, card.md, facts.json, report.json
    model    <model>/MLmodel with the signature, code/ (models, nextbest), and our own plain files in
             <model>/data/model (`data_folder`), which MLmodel names as flavors.python_function.data

Nothing is written outside settings.mlflow_uri and settings.artifacts.
"""

import getpass
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from models import artifact
from models.base import Model
from nextbest.errors import BadInput
from nextbest.settings import Settings
from training._history import Move, earlier_champions, moves
from training._runs import Run, experiment, log_model, log_run, register
from training._versions import (
    CHAMPION,
    champion_of,
    default_version,
    find_model,
    find_version,
    registered,
    registered_models,
    versions_of,
)

SQLITE = "sqlite:///"
Row = dict[str, Any]
Table = list[Row]


@dataclass(frozen=True)
class Logged:
    """Where a run's model went."""

    model: str
    version: str
    run_id: str


class Registry:
    """Registered versions, their champion and its history. Names are jobs ("churn") or "nextbest-churn"."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def log(self, run: Run, model: Model) -> Logged:
        """Log a run and register its model as a new version, without moving the alias."""
        self._settings.home.resolve().mkdir(parents=True, exist_ok=True)
        self._settings.artifacts.mkdir(parents=True, exist_ok=True)
        title = f"{run.job} {run.now:%Y-%m-%d %H:%M}"
        with _mlflow(self._settings) as (mlflow, client), tempfile.TemporaryDirectory() as scratch:
            place = experiment(client, registered(run.job), self._settings)
            with mlflow.start_run(experiment_id=place, run_name=title) as active:
                log_run(mlflow, run)
                info = log_model(mlflow, run, model, Path(scratch) / "model")
            return Logged(registered(run.job), register(client, info, run), str(active.info.run_id))

    def write_texts(self, run_id: str, texts: Mapping[str, str]) -> None:
        """Add text files to a finished run."""
        with self._client() as client:
            for name, text in texts.items():
                client.log_text(run_id, text, name)

    def list(self) -> Table:
        """Return one row a registered model: its champion and its newest version."""
        with self._client() as client:
            return [_row(client, model) for model in registered_models(client).values()]

    def show(self, name: str, version: int | str | None = None) -> Row:
        """Return one version (default: the champion, else the newest) with the report of its training."""
        with self._client() as client:
            model = find_model(client, name)
            chosen = find_version(client, model, version or default_version(client, model))
            report = _report(client, chosen.run_id)
            told = ("status", "why", "metric", "ours", "baselines", "simulated", "facts")
            return {
                "model": model.name,
                "version": str(chosen.version),
                "is_champion": champion_of(model) == str(chosen.version),
                **{key: report.get(key) for key in told},
                "champion_then": report.get("champion"),
                "run_id": chosen.run_id,
                "folder": str(_folder(client, chosen)),
                "tags": dict(chosen.tags),
            }

    def promote(self, name: str, version: int | str, reason: str, now: datetime) -> Row:
        """Make a version champion and record it. Raises BadInput naming the models or versions there are."""
        with self._client() as client:
            model = find_model(client, name)
            after = str(find_version(client, model, version).version)
            if champion_of(model) == after:
                raise BadInput(f"{model.name} version {after} is champion already")
            return _move(client, model, after, "promote", reason, now)

    def rollback(self, name: str, reason: str, now: datetime) -> Row:
        """Make the champion before this one champion again, and record it."""
        with self._client() as client:
            model = find_model(client, name)
            there = {*versions_of(client, model)} - {champion_of(model)}
            before = [version for version in earlier_champions(moves(model.tags)) if version in there]
            if not before:
                raise BadInput(f"{model.name} has no earlier champion; see: nextbest models history")
            return _move(client, model, before[0], "rollback", reason, now)

    def history(self, name: str | None = None) -> Table:
        """Return every promotion and rollback, oldest first."""
        with self._client() as client:
            chosen = registered_models(client).values() if name is None else [find_model(client, name)]
            past = [move for model in chosen for move in moves(model.tags)]
            return [asdict(move) for move in sorted(past, key=lambda m: (m.when, m.model, m.sequence))]

    def champion(self, name: str) -> tuple[str, dict[str, str]] | None:
        """Return the champion's version and its tags; None where there is none."""
        with self._client() as client:
            model = registered_models(client).get(registered(name))
            version = champion_of(model) if model is not None else None
            return None if version is None else (version, dict(find_version(client, model, version).tags))

    def load(self, name: str, version: int | str | None = None) -> Model:
        """Load a version's own files (default: the champion). Raises BadInput or ArtifactError."""
        with self._client() as client:
            model = find_model(client, name)
            chosen = version or champion_of(model)
            if chosen is None:
                raise BadInput(f"{model.name} has no champion; promote one of {versions_of(client, model)}")
            return artifact.load(_folder(client, find_version(client, model, chosen)))

    @contextmanager
    def _client(self) -> Iterator[Any]:
        """Yield a client, or None where there is no database yet: asking must not create one."""
        uri = self._settings.mlflow_uri
        if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
            yield None
            return
        with _mlflow(self._settings) as (_, client):
            yield client


def data_folder(model: Path) -> Path:
    """Return our own plain files inside the folder of a logged model."""
    return model / "data" / "model"


@contextmanager
def _mlflow(settings: Settings) -> Iterator[tuple[Any, Any]]:
    """Yield mlflow and its client on our stores, quiet; what it changes in the process is put back."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # a connection kept open would go on reading a database file that has been replaced
    os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow  # sets its loggers' levels, so that they can only be silenced afterwards

        # mlflow keeps what was set in this variable too; None stands for its default
        path, uri = list(sys.path), os.environ.get("MLFLOW_TRACKING_URI")
        mlflow.set_tracking_uri(settings.mlflow_uri)
        try:
            with _quiet("mlflow", "alembic"):
                yield mlflow, mlflow.MlflowClient(settings.mlflow_uri, settings.mlflow_uri)
        finally:
            mlflow.set_tracking_uri(uri)
            sys.path[:] = path


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _folder(client: Any, version: Any) -> Path:
    """Return a version's own files, fetched where they are not on this machine."""
    from mlflow.artifacts import download_artifacts

    location = client.get_model_version_download_uri(version.name, str(version.version))
    return data_folder(Path(download_artifacts(artifact_uri=location, tracking_uri=client.tracking_uri)))


def _report(client: Any, run_id: str) -> Row:
    from mlflow.artifacts import load_text
    from mlflow.exceptions import MlflowException

    try:
        return dict(json.loads(load_text(f"{client.get_run(run_id).info.artifact_uri}/report.json")))
    except (MlflowException, OSError, ValueError) as error:
        return {"why": f"the report of run {run_id} cannot be read: {error}"}


def _row(client: Any, model: Any) -> Row:
    versions, champion, past = versions_of(client, model), champion_of(model), moves(model.tags)
    tags = find_version(client, model, champion).tags if champion else {}
    return {
        "model": model.name,
        "champion": champion,
        "metric": tags.get("metric"),
        "value": tags.get("value"),
        "simulated": tags.get("simulated"),
        "champion_since": past[-1].when if past else None,
        "newest": versions[-1] if versions else None,
        "versions": len(versions),
    }


def _move(
    client: Any, model: Any, after: str, action: Literal["promote", "rollback"], why: str, now: datetime
) -> Row:
    """Record the move, then make it: an alias never moves unrecorded."""
    past = moves(model.tags)
    report = _report(client, find_version(client, model, after).run_id)
    metrics = (report.get("ours") or {}).get("metrics") or {}
    sequence = past[-1].sequence + 1 if past else 1
    move = Move(
        sequence, now.isoformat(), action, model.name, champion_of(model), after, why, _user(), metrics
    )
    client.set_registered_model_tag(model.name, *move.tag())
    client.set_registered_model_alias(model.name, CHAMPION, after)
    return asdict(move)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
