"""Reading the YAML files that rules are written in."""

from pathlib import Path
from typing import Any

import yaml

from nextbest.errors import BadInput


def read_yaml(source: Path, what: str) -> Any:
    """Return a file's content; raises BadInput, which names `what` is in it, where it cannot be read."""
    try:
        return yaml.safe_load(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"the {what} in {source} cannot be read: {error}") from error
