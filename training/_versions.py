"""Finding registered models and versions; errors name those there are. MLflow's client is handed in."""

from collections.abc import Iterable
from typing import Any

from nextbest.errors import BadInput

CHAMPION = "champion"
PREFIX = "nextbest-"


def registered(name: str) -> str:
    """Return the registered model's name of a job: "churn" and "nextbest-churn" mean the same."""
    plain = name.replace("_", "-")
    return plain if plain.startswith(PREFIX) else f"{PREFIX}{plain}"


def registered_models(client: Any) -> dict[str, Any]:
    """Return name -> registered model, ours only; `client` is None where there is no registry yet."""
    found = client.search_registered_models(max_results=1000) if client is not None else ()
    return {str(m.name): m for m in sorted(found, key=lambda m: str(m.name)) if m.name.startswith(PREFIX)}


def find_model(client: Any, name: str) -> Any:
    """Return a registered model by its job or its whole name."""
    known = registered_models(client)
    if registered(name) not in known:
        raise BadInput(f"no registered model {name!r}; known: {_listed(known)}")
    return known[registered(name)]


def champion_of(model: Any) -> str | None:
    """Return the version the alias points to."""
    version = model.aliases.get(CHAMPION)
    return None if version is None else str(version)


def versions_of(client: Any, model: Any) -> list[str]:
    """Return every version, oldest first."""
    found = client.search_model_versions(f"name = '{model.name}'", max_results=1000)
    return sorted((str(one.version) for one in found), key=int)


def find_version(client: Any, model: Any, version: int | str) -> Any:
    """Return a version of a model."""
    known = versions_of(client, model)
    if str(version) not in known:
        raise BadInput(f"{model.name} has no version {version}; known: {_listed(known)}")
    return client.get_model_version(model.name, str(version))


def default_version(client: Any, model: Any) -> str:
    """Return the champion, or the newest version where there is none."""
    return champion_of(model) or next(reversed(versions_of(client, model)), "")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none yet, run: nextbest train all"
