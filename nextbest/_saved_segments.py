"""Segments with a name, kept in a YAML file: name: expression."""

from pathlib import Path

import yaml

from nextbest.errors import BadInput
from nextbest.settings import Settings
from serving.expression import Expression
from serving.segments import read_expression

HOW = 'NEXTBEST_SEGMENTS names a YAML file with lines such as  winback: churn.band == "high"'


def saved_segments(settings: Settings) -> dict[str, Expression]:
    """Return every saved segment by name. Raises BadInput, with all that is wrong in the file."""
    if settings.segments is None:
        raise BadInput(f"no segments are saved; {HOW}")
    raw = _raw(settings.segments)
    found, wrong = dict[str, Expression](), list[str]()
    for name, text in raw.items():
        try:
            found[name] = read_expression(settings, text)
        except BadInput as error:
            wrong.append(f"{name}: {error}")
    if wrong:
        raise BadInput(f"segments in {settings.segments} that cannot be used: {'; '.join(wrong)}")
    return found


def saved_segment(settings: Settings, name: str) -> Expression:
    """Return one saved segment. Raises BadInput, with the names there are."""
    found = saved_segments(settings)
    if name not in found:
        raise BadInput(f"no segment '{name}' in {settings.segments}; it has: {', '.join(found) or 'none'}")
    return found[name]


def _raw(file: Path) -> dict[str, str]:
    try:
        raw = yaml.load(file.read_text(encoding="utf-8"), _NoTwins)  # noqa: S506 - a safe loader
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadInput(f"the segments in {file} cannot be read: {error}") from None
    if raw is None:
        return {}
    if not isinstance(raw, dict) or not all(isinstance(part, str) for pair in raw.items() for part in pair):
        raise BadInput(f"{file} is to hold names and expressions, both text; {HOW}")
    return raw


class _NoTwins(yaml.SafeLoader):
    """Reads YAML safely, and refuses a mapping that has a name twice, which YAML lets pass."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        names = [key.value for key, _ in node.value]
        if twice := sorted({str(name) for name in names if names.count(name) > 1}):
            raise yaml.YAMLError(f"the name {', '.join(twice)} stands there twice")
        return dict(super().construct_mapping(node, deep))
