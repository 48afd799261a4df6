"""Reading `--set key=value` into a model's frozen configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from nextbest.errors import BadInput

Config = TypeVar("Config")


def configured(kind: type[Config], options: Mapping[str, str], keys: Sequence[str], **given: Any) -> Config:
    """Build a configuration from the options among `keys`, each as its default's type, and from `given`.

    Raises BadInput for a value of the wrong type; what the value may be the configuration itself checks.
    """
    defaults = {field.name: field.default for field in fields(kind)}  # type: ignore[arg-type]
    chosen = {key: _typed(key, options[key], defaults[key]) for key in keys if key in options}
    return kind(**{**chosen, **given})


def described(kind: type[Any], meanings: Mapping[str, str]) -> dict[str, str]:
    """Return the options' meanings with the configuration's defaults."""
    defaults = {field.name: field.default for field in fields(kind)}
    return {key: f"{meaning} ({defaults[key]})" for key, meaning in meanings.items()}


def _typed(key: str, text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise BadInput(f"{key} is {text!r}; it must be true or false")
        return text.lower() == "true"
    wanted = "a whole number" if isinstance(default, int) else "a number"
    try:
        return type(default)(text)
    except ValueError:
        raise BadInput(f"{key} is {text!r}; it must be {wanted}") from None
