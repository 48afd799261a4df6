"""A model on disk: plain files that cannot run code, and a manifest that says what they are.

    folder/manifest.json   {"format": 1, "kind": "churn", "files": {"booster.txt": "<sha256>", …}}
    folder/…               what the model's own `save` wrote

`load` believes nothing: every file named is checked against its sum before the model's own `load` reads it,
and the kind must be that of a model in this package.
"""

import hashlib
import importlib
import json
import pkgutil
import shutil
import uuid
from functools import cache
from pathlib import Path
from typing import Any

import models
from models.base import Model
from nextbest.errors import ArtifactError, NextbestError

FORMAT = 1
MANIFEST = "manifest.json"
NOT_MODELS = frozenset({"base", "catalogue", "artifact"})


def save(model: Model, folder: Path) -> Path:
    """Write the model to `folder`, replacing what was there; it appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.parent / f".{folder.name}.{uuid.uuid4().hex}"
    aside.mkdir()
    try:
        model.save(aside)
        _write_manifest(model.kind, aside)
        _swap(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def load(folder: Path) -> Model:
    """Read the model in `folder`. Raises ArtifactError, naming the file that is not as it was saved."""
    manifest = _read_manifest(folder)
    for name, expected in manifest["files"].items():
        _verify(folder, name, expected)
    model_class = _class_of(manifest["kind"], folder)
    try:
        return model_class.load(folder)
    except NextbestError:
        raise
    except Exception as error:
        raise ArtifactError(f"{manifest['kind']} in {folder} cannot be read: {error}") from error


@cache
def models_found() -> dict[str, type[Model]]:
    """Return kind -> class of every model in this package; a new file is a new model."""
    found: dict[str, type[Model]] = {}
    for name in _module_names():
        for model_class in _classes_in(name):
            if model_class.kind in found:
                raise RuntimeError(
                    f"two models of kind {model_class.kind!r}: {found[model_class.kind]}, {model_class}"
                )
            found[model_class.kind] = model_class
    return found


def _write_manifest(kind: str, folder: Path) -> None:
    files = {
        path.relative_to(folder).as_posix(): _sum(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    text = json.dumps({"format": FORMAT, "kind": kind, "files": files}, indent=1, sort_keys=True)
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def _swap(aside: Path, folder: Path) -> None:
    """Put `aside` in the place of `folder`; a folder that holds something cannot be replaced in one step."""
    if not folder.exists():
        aside.replace(folder)
        return
    old = folder.parent / f".{folder.name}.{uuid.uuid4().hex}"
    folder.replace(old)
    aside.replace(folder)
    shutil.rmtree(old)


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"no model in {folder}: {MANIFEST} is missing") from None
    except ValueError as error:
        raise ArtifactError(f"{path} is damaged: {error}") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise ArtifactError(f"{path} is damaged: it names no files")
    if manifest.get("format") != FORMAT:
        raise ArtifactError(
            f"{path} has format {manifest.get('format')!r}; this version reads {FORMAT}: train it again"
        )
    return manifest


def _verify(folder: Path, name: str, expected: str) -> None:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ArtifactError(f"{folder / MANIFEST} names {name!r}, which lies outside the folder")
    if not path.is_file():
        raise ArtifactError(f"{path} is missing")
    if _sum(path) != expected:
        raise ArtifactError(f"{path} is damaged: its sha256 is not the one in {MANIFEST}")


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _class_of(kind: Any, folder: Path) -> type[Model]:
    """Find the class without importing every model: a kind is mostly the name of its file."""
    if kind in _module_names():
        for model_class in _classes_in(kind):
            if model_class.kind == kind:
                return model_class
    if kind in models_found():
        return models_found()[kind]
    raise ArtifactError(f"no model {kind!r} (in {folder}); known: {', '.join(sorted(models_found()))}")


def _module_names() -> list[str]:
    names = (module.name for module in pkgutil.iter_modules(models.__path__))
    return sorted(name for name in names if not name.startswith("_") and name not in NOT_MODELS)


def _classes_in(name: str) -> list[type[Model]]:
    module = importlib.import_module(f"models.{name}")
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and value.__module__ == module.__name__
        and isinstance(getattr(value, "kind", None), str)
        and hasattr(value, "save")
        and hasattr(value, "load")
    ]
