"""Logging one training run and its model. MLflow is handed in: training.tracking imports it."""

import importlib.metadata
import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

import models
import nextbest
from models import _pyfunc, artifact
from models.base import Model
from models.catalogue import Catalogue
from nextbest.errors import ArtifactError
from nextbest.settings import Settings
from training._versions import registered, registered_models

REQUIREMENTS = (
    "lightgbm", "numpy", "pandas", "pyarrow", "pydantic", "pydantic-settings", "safetensors", "scikit-learn",
    "scipy", "torch", "usearch",
)  # fmt: skip
"""What the models import, pinned to the versions they were trained with."""


@dataclass(frozen=True)
class Run:
    """What to log of one training run."""

    job: str
    now: datetime
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    example: tuple[pd.DataFrame, pd.DataFrame]
    figures: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    catalogue: Catalogue | None = None


def metric_name(name: str) -> str:
    """Return a name MLflow takes: "ndcg@10" is refused."""
    return name.replace("@", "_at_")


def experiment(client: Any, name: str, settings: Settings) -> str:
    """Return the id of the experiment, made on first use, with its files under settings.artifacts."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    remote = settings.mlflow_uri.startswith(("http://", "https://"))
    location = None if remote else settings.artifacts.as_uri()
    return str(client.create_experiment(name, artifact_location=location))


def log_run(mlflow: Any, run: Run) -> None:
    """Log everything but the model to the active run."""
    mlflow.log_params({key: str(value)[:500] for key, value in run.params.items()})
    mlflow.log_metrics({metric_name(key): value for key, value in run.metrics.items()})
    mlflow.set_tags({"job": run.job, "now": run.now.isoformat(), **run.tags, **_commit()})
    for name, figure in run.figures.items():
        mlflow.log_figure(figure, f"figures/{name if Path(name).suffix else name + '.png'}")
    for name, table in run.tables.items():
        mlflow.log_text(table.to_csv(index=False), f"tables/{name.removesuffix('.csv')}.csv")
    for name, text in run.texts.items():
        mlflow.log_text(text, name)


def log_model(mlflow: Any, run: Run, model: Model, folder: Path) -> Any:
    """Log the model to the active run as a pyfunc over its plain files, first written to `folder`."""
    artifact.save(model, folder)
    if run.catalogue is not None:
        _pyfunc.write_catalogue(run.catalogue, folder / _pyfunc.CATALOGUE)
    question, answer = (_signable(frame) for frame in run.example)
    info = mlflow.pyfunc.log_model(
        name="model",
        loader_module="models._pyfunc",
        data_path=str(folder),
        code_paths=[str(Path(package.__path__[0])) for package in (models, nextbest)],
        signature=mlflow.models.infer_signature(question, answer),
        input_example=question,
        pip_requirements=_requirements(),
    )
    if info.signature is None or info.signature.inputs is None or info.signature.outputs is None:
        raise ArtifactError(
            f"MLflow inferred no signature for {run.job}; its example needs float64 and text columns"
        )
    return info


def _signable(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with numbers as float64: MLflow's int columns break on the first missing value."""
    numbers = frame.select_dtypes(["number", "bool"]).columns
    return frame.reset_index(drop=True).astype(dict.fromkeys(numbers, "float64"))


def register(client: Any, info: Any, run: Run) -> str:
    """Register the logged model as the job's next version."""
    name = registered(run.job)
    if name not in registered_models(client):
        client.create_registered_model(name)
    tags = {"job": run.job, "now": run.now.isoformat(), **run.tags}
    version = client.create_model_version(
        name, info.model_uri, info.run_id, tags=tags, model_id=info.model_id
    )
    pointer = json.dumps([{"name": name, "version": str(version.version)}])
    client.set_logged_model_tags(info.model_id, {"mlflow.modelVersions": pointer})
    return str(version.version)


def _requirements() -> list[str]:
    """Pin what the models import; a local build ("2.13.0+cpu") is no version elsewhere."""
    return [f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in REQUIREMENTS]


def _commit() -> dict[str, str]:
    git = shutil.which("git")
    if git is None:
        return {}
    command = [git, "-C", str(Path(models.__path__[0])), "rev-parse", "HEAD"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed arguments
    return {"git_commit": told.stdout.strip()} if told.returncode == 0 else {}
