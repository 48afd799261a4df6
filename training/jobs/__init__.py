"""The jobs: every file of this folder that holds one is found; nothing is listed anywhere."""

import importlib
import pkgutil
from typing import Any

from training.base import Job


def jobs_found() -> dict[str, Job[Any]]:
    """Return name -> job: one instance of each class in this folder that has a name, a metric and a fit."""
    found: dict[str, Job[Any]] = {}
    for module_info in pkgutil.iter_modules(__path__):
        if module_info.name.startswith("_"):
            continue
        for job_class in _classes_in(f"{__name__}.{module_info.name}"):
            job = job_class()
            if job.name in found:
                raise RuntimeError(f"two jobs called {job.name!r}: {type(found[job.name])}, {job_class}")
            found[job.name] = job
    return dict(sorted(found.items()))


def _classes_in(module_name: str) -> list[type[Any]]:
    module = importlib.import_module(module_name)
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and value.__module__ == module_name
        and isinstance(getattr(value, "name", None), str)
        and isinstance(getattr(value, "metric", None), str)
        and callable(getattr(value, "fit", None))
    ]
