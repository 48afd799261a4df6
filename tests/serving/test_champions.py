"""What serves: only what loads, answers its golden question, and bears the alias."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from models import artifact
from models.popularity import Popularity
from models.rules import Rules
from nextbest.settings import Settings
from serving import champions as module
from serving.champions import TASKS, Champions
from serving.golden import GOLDEN


class Registered:
    """A registry of folders: (task, number) -> logged model; `aliases` says which is champion."""

    def __init__(self, home: Path) -> None:
        self.home, self.aliases, self.error = home, dict[str, str](), None

    def add(self, task: str, number: str, model: Any) -> Path:
        folder = self.home / f"{task}-{number}"
        artifact.save(model, folder / "data" / "model")
        flavours = {"flavors": {"python_function": {"data": "data/model"}}}
        (folder / "MLmodel").write_text(yaml.safe_dump(flavours))
        self.aliases[task] = number
        return folder / "data" / "model"

    def get_model_version_download_uri(self, name: str, number: str) -> str:
        return (self.home / f"{name.removeprefix('nextbest-')}-{number}").as_uri()

    def found(self) -> dict[str, Any]:
        if self.error:
            raise self.error
        return {
            task: module._Version(f"nextbest-{task}", number, False, self)
            for task, number in self.aliases.items()
        }


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registered:
    made = Registered(tmp_path / "a folder with spaces")
    monkeypatch.setattr(Champions, "_champions", lambda champions: made.found())
    monkeypatch.setattr(module, "_stamp", lambda uri: None)
    return made


@pytest.fixture
def champions(registry: Registered, tmp_path: Path) -> Champions:
    return Champions(Settings(home=tmp_path))


def test_every_task_has_a_golden_question() -> None:
    assert set(GOLDEN) == set(TASKS)


def test_a_champion_is_loaded_and_follows_its_alias(registry: Registered, champions: Champions) -> None:
    assert (champions.get("next-purchase"), champions.why_none("next-purchase")) == (
        None,
        "registry_unavailable",
    )
    registry.add("next-purchase", "1", Popularity())
    champions.refresh()
    assert champions.get("next-purchase").version == "nextbest-next-purchase/1"
    assert (champions.get("churn"), champions.why_none("churn")) == (None, "no_champion")
    registry.add("next-purchase", "2", Popularity())
    champions.refresh()
    assert champions.get("next-purchase").version == "nextbest-next-purchase/2"
    registry.aliases.clear()
    champions.refresh()
    assert champions.get("next-purchase") is None


def test_an_unchanged_champion_is_not_loaded_again(registry: Registered, champions: Champions) -> None:
    registry.add("next-purchase", "1", Popularity())
    champions.refresh()
    before = champions.get("next-purchase")
    champions.refresh()
    assert champions.get("next-purchase") is before


@pytest.mark.parametrize("harm", ["file damaged", "file gone", "manifest gone", "wrong kind", "folder gone"])
def test_a_bad_champion_leaves_the_old_one_and_is_taken_once_it_is_mended(
    registry: Registered, champions: Champions, harm: str
) -> None:
    registry.add("next-purchase", "1", Popularity())
    champions.refresh()
    folder = registry.add("next-purchase", "2", Rules() if harm == "wrong kind" else Popularity())
    saved = {file: file.read_bytes() for file in folder.iterdir()}
    if harm == "file damaged":
        (folder / "popularity.json").write_text(json.dumps({"variant": "trending"}))
    elif harm == "file gone":
        (folder / "popularity.json").unlink()
    elif harm == "manifest gone":
        (folder / artifact.MANIFEST).unlink()
    elif harm == "folder gone":
        (folder.parent.parent / "MLmodel").unlink()
    for _ in range(2):
        champions.refresh()
        status = champions.status()["next-purchase"]
        assert champions.get("next-purchase").version == "nextbest-next-purchase/1"
        assert status.champion == "nextbest-next-purchase/2"
        assert status.error
    if harm in ("file damaged", "file gone", "manifest gone"):
        for file, content in saved.items():
            file.write_bytes(content)
        champions.refresh()
        assert champions.get("next-purchase").version == "nextbest-next-purchase/2"
        assert champions.status()["next-purchase"].error is None


def test_a_first_champion_that_fails_its_golden_question_does_not_serve(registry: Registered) -> None:
    registry.add("rfm", "1", Rules())
    champions = Champions(Settings(home=registry.home), {**GOLDEN, "rfm": _refuse})
    champions.refresh()
    assert champions.get("rfm") is None
    assert champions.why_none("rfm") == "model_failed"
    assert "not today" in (champions.status()["rfm"].error or "")


def _refuse(model: Any) -> None:
    raise ValueError("not today")


def test_a_registry_that_stops_answering_changes_nothing(registry: Registered, champions: Champions) -> None:
    registry.add("next-purchase", "1", Popularity())
    champions.refresh()
    registry.error = OSError("connection refused")
    champions.refresh()
    assert champions.get("next-purchase").version == "nextbest-next-purchase/1"
    assert champions.registry_error == "connection refused"
    assert champions.why_none("churn") == "registry_unavailable"
    registry.error = None
    champions.refresh()
    assert champions.registry_error is None


def test_the_background_follows(registry: Registered, tmp_path: Path) -> None:
    champions = Champions(Settings(home=tmp_path, champions_poll_seconds=0.02)).start()
    try:
        registry.add("next-purchase", "1", Popularity())
        end = 200
        while champions.get("next-purchase") is None and end:
            end -= 1
            champions._stop.wait(0.02)
        assert champions.get("next-purchase") is not None
    finally:
        champions.close()


def test_a_missing_registry_is_never_created(tmp_path: Path) -> None:
    champions = Champions(Settings(home=tmp_path))
    champions.refresh()
    assert "nextbest train" in (champions.registry_error or "")
    assert list(tmp_path.iterdir()) == []
