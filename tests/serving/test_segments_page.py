"""docs/segments.md tells every column that can be named, no other, and examples that can be asked."""

import re
from pathlib import Path

import pytest
import yaml

from nextbest.columns import CHANNELS, COUNTERS, HALF_LIVES, POINTS
from nextbest.settings import Settings
from serving.segments import read_expression
from serving.vocabulary import KNOWN, VALUES

PAGE = (Path(__file__).parents[2] / "docs" / "segments.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def test_it_has_every_column_and_no_other() -> None:
    told = set[str]()
    for row in re.findall(r"^\| (`.*?`) \|", section("The columns"), re.MULTILINE):
        told.update(re.findall(r"`(.*?)`", row))
    spans = (*(f"{days}d" for days in HALF_LIVES), "total")
    told |= {f"features.{c}_{span}" for c in (*COUNTERS, POINTS) for span in spans}
    told |= {f"{group}.{channel}" for group in ("consent", "reachable") for channel in CHANNELS}
    told -= {"features.COUNTER_SPAN", "consent.CHANNEL", "reachable.CHANNEL"}
    assert told == KNOWN.keys()


@pytest.mark.parametrize("column", VALUES)
def test_it_has_every_name_of_a_column(column: str) -> None:
    row = next(line for line in section("The columns").splitlines() if line.startswith(f"| `{column}` |"))
    assert all(re.search(rf"\b{name}\b", row) for name in VALUES[column])


def test_its_examples_can_be_asked(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    examples = re.findall(r"^\| [^|]+ \| `(.*)` \|$", section("Examples"), re.MULTILINE)
    saved = yaml.safe_load(section("Saved segments").split("```yaml\n")[1].split("```")[0])
    assert len(examples) >= 10
    for text in (*examples, *saved.values()):
        assert read_expression(settings, text).names
