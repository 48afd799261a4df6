import json
import logging
import os
import subprocess
import sys
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

import models
from models.popularity import Popularity
from models.rules import Rules
from nextbest.errors import ArtifactError, BadInput
from nextbest.settings import Settings
from training._history import PREFIX, Move, earlier_champions, moves
from training._runs import Run
from training.tracking import Registry, registered

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FRAME = pd.DataFrame({"points_30d": [1.0, 30.0], "points_total": [0.0, 25.0]})


def run_of(model, job="rules", example=None, **changes):
    answer = example or (FRAME, model.score(FRAME))
    values = {
        "params": {"seed": 7},
        "metrics": {"ndcg@10": 0.25},
        "tags": {"metric": "ndcg@10", "value": "0.25"},
    }
    return Run(job=job, now=NOW, example=answer, **(values | changes))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A working directory in which nothing may appear."""
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def registry(tmp_path_factory, elsewhere):
    """Three versions of `rules`, none champion, logged from another working directory."""
    found = Registry(Settings(home=tmp_path_factory.mktemp("tracking") / "home"))
    before = Path.cwd()
    os.chdir(elsewhere)
    try:
        for at in (10.0, 20.0, 30.0):
            model = Rules({"hot": at})
            report = json.dumps({"ours": {"metrics": {"ndcg@10": at / 100}}, "why": "a test"})
            logged = found.log(run_of(model), model)
            found.write_texts(logged.run_id, {"report.json": report, "card.md": "# card"})
    finally:
        os.chdir(before)
    return found


def test_nothing_is_written_in_the_working_directory(registry, elsewhere):
    assert list(elsewhere.iterdir()) == []


def test_versions_are_numbered_and_hold_their_own_files(registry):
    assert registry.load("rules", 2).thresholds == {"hot": 20.0}
    assert registry.load("nextbest-rules", "3").thresholds == {"hot": 30.0}


def test_a_model_without_champion(registry):
    assert registry.champion("rules") is None
    with pytest.raises(BadInput, match="nextbest-rules has no champion"):
        registry.load("rules")
    (row,) = registry.list()
    assert (row["champion"], row["newest"], row["versions"]) == (None, "3", 3)
    assert registry.show("rules")["version"] == "3", "without a champion the newest is shown"


def test_others_load_it_with_mlflow_in_a_foreign_directory(registry, tmp_path):
    """Only models and nextbest travel with the model, and they are the ones that answer."""
    script = """
import sys, warnings
warnings.simplefilter("ignore")
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/nextbest-rules/2")
import models, nextbest, pandas as pd
assert "/artifacts/code/" in models.__file__ and "/artifacts/code/" in nextbest.__file__, models.__file__
frame = pd.DataFrame({"points_30d": [1.0, 30.0], "points_total": [0.0, 25.0]})
answer = model.predict(frame)
assert answer["rule_score"].tolist() == [1.0, 55.0], answer
assert answer["stage"].tolist() == ["none", "hot"], answer
signature = model.metadata.signature
assert signature.inputs.input_names() == ["points_30d", "points_total"]
assert {str(t) for t in signature.outputs.input_types()} == {"DataType.double", "DataType.string"}
"""
    uri = registry._settings.mlflow_uri
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", script, uri],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_a_recommender_carries_its_catalogue(registry):
    import numpy as np

    from models._pyfunc import NUMBERS, TEXTS, _load_pyfunc, shopper_text
    from models.catalogue import Catalogue
    from nextbest.columns import ITEM_STATISTICS

    items = pd.DataFrame(
        {"item_id": ["a", "b"], "title": ["A", None], "category": ["x/y", None], "price": [1.0, np.nan]}
    )
    items = items.assign(
        in_stock=True, hidden=False, repeatable=np.nan, **dict.fromkeys(ITEM_STATISTICS, 1.0)
    )
    items["sold_90d"] = [1.0, 5.0]
    catalogue = Catalogue.from_frame(items, 5.0)
    from types import SimpleNamespace

    blocks = {name: [] for name in TEXTS} | {name: np.empty(0) for name in NUMBERS}
    shopper = SimpleNamespace(contact_id="c", now=5.0, features={}, **blocks)
    asked = pd.DataFrame({"shopper": [shopper_text(shopper)]})
    from models._pyfunc import predict

    answer = predict(Popularity(), asked, catalogue)
    logged = registry.log(run_of(Popularity(), "popular", (asked, answer), catalogue=catalogue), Popularity())
    folder = Path(registry.show("popular", logged.version)["folder"])
    again = _load_pyfunc(str(folder)).predict(asked)
    assert again["item_id"].tolist() == ["b", "a"]
    pd.testing.assert_frame_equal(again, answer)
    with pytest.raises(BadInput, match="none was saved beside it"):
        predict(Popularity(), asked)


def test_promote_rollback_and_history(registry):
    steps = [
        registry.promote("rules", 1, "first", NOW),
        registry.promote("rules", "2", "second", NOW + timedelta(days=1)),
        registry.promote("rules", 3, "third", NOW + timedelta(days=2)),
        registry.rollback("rules", "third was bad", NOW + timedelta(days=3)),
        registry.rollback("rules", "second too", NOW + timedelta(days=4)),
    ]
    assert [(step["before"], step["after"]) for step in steps] == [
        (None, "1"),
        ("1", "2"),
        ("2", "3"),
        ("3", "2"),
        ("2", "1"),
    ]
    assert registry.champion("rules")[0] == "1"
    with pytest.raises(BadInput, match="no earlier champion"):
        registry.rollback("rules", "further", NOW)
    again = Registry(registry._settings).history("rules")
    assert again == steps
    assert [step["sequence"] for step in again] == [1, 2, 3, 4, 5]
    assert again[3]["action"] == "rollback"
    assert again[3]["metrics"] == {"ndcg@10": 0.2}
    assert again[0]["by"]
    assert [step["model"] for step in registry.history()] == ["nextbest-rules"] * 5


def test_what_does_not_exist_is_named_with_what_does(registry):
    with pytest.raises(BadInput, match="no registered model 'chrun'; known: nextbest-"):
        registry.show("chrun")
    with pytest.raises(BadInput, match="nextbest-rules has no version 9; known: 1, 2, 3"):
        registry.promote("rules", 9, "why", NOW)


def test_promoting_the_champion_again_is_refused(registry):
    version = registry.show("rules")["version"]
    if registry.champion("rules") is None:
        registry.promote("rules", version, "now", NOW)
    with pytest.raises(BadInput, match="champion already"):
        registry.promote("rules", version, "again", NOW)


def test_a_damaged_artifact_is_named(registry):
    shown = registry.show("rules", 3)
    file = Path(shown["folder"]) / "thresholds.json"
    whole = file.read_text()
    file.write_text(whole + " ")
    try:
        with pytest.raises(ArtifactError, match=r"thresholds\.json is damaged"):
            registry.load("rules", 3)
    finally:
        file.write_text(whole)


def test_asking_an_empty_home_creates_nothing(tmp_path):
    empty = Registry(Settings(home=tmp_path / "home"))
    assert empty.list() == []
    assert empty.history() == []
    assert empty.champion("rules") is None
    with pytest.raises(BadInput, match="none yet, run: nextbest train all"):
        empty.show("rules")
    assert list(tmp_path.iterdir()) == []


def test_a_first_run_in_a_fresh_process_says_nothing(tmp_path):
    script = """
import sys
from datetime import UTC, datetime
from pathlib import Path
import pandas as pd
from models.rules import Rules
from nextbest.settings import Settings
from training._runs import Run
from training.tracking import Registry
registry, model = Registry(Settings(home=Path(sys.argv[1]))), Rules({})
frame = pd.DataFrame({"points_total": [1.0]})
now = datetime(2026, 1, 1, tzinfo=UTC)
registry.log(Run("rules", now, {}, {}, {}, (frame, model.score(frame))), model)
registry.promote("rules", 1, "first", now)
"""
    home, here = tmp_path / "home", tmp_path / "here"
    here.mkdir()
    root = str(Path(models.__path__[0]).parent)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")} | {"PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", script, str(home)],
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(here.iterdir()) == []


def test_it_is_quiet_and_puts_back_what_it_changed(registry, capfd, caplog):
    import mlflow

    before = (mlflow.get_tracking_uri(), dict(os.environ), list(sys.path), logging.getLogger("mlflow").level)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = Rules({"hot": 1.0})
        registry.log(run_of(model, "quiet"), model)
    said = capfd.readouterr()
    assert (said.out, said.err, caplog.text) == ("", "", "")
    assert (
        mlflow.get_tracking_uri(),
        dict(os.environ),
        list(sys.path),
        logging.getLogger("mlflow").level,
    ) == before


def test_integers_in_an_example_become_floats_in_the_signature(registry):
    import mlflow

    model = Rules({})
    frame = pd.DataFrame({"points_total": [1, 2]})
    logged = registry.log(run_of(model, "whole", (frame, model.score(frame))), model)
    folder = Path(registry.show("whole", logged.version)["folder"]).parents[1]
    signature = mlflow.models.Model.load(str(folder)).signature
    assert [str(kind) for kind in signature.inputs.input_types()] == ["DataType.double"]


def test_names_of_jobs():
    assert registered("next_purchase") == registered("next-purchase") == registered("nextbest-next-purchase")


# --- the history without MLflow


def move(sequence, action, after):
    return Move(sequence, NOW.isoformat(), action, "m", None, after, "why", "me")


def test_tags_round_trip_in_order_of_their_sequence():
    past = [move(n, "promote", str(n)) for n in (1, 2, 10)]
    tags = dict(m.tag() for m in reversed(past)) | {"other": "tag"}
    assert moves(tags) == past


def test_a_tag_fits_mlflow():
    long = Move(
        1,
        NOW.isoformat(),
        "promote",
        "m",
        "1",
        "2",
        "why " * 5000,
        "me",
        {f"metric_{i}": i / 7 for i in range(500)},
    )
    key, value = long.tag()
    assert key.startswith(PREFIX)
    assert len(value) < 5000


@pytest.mark.parametrize(
    ("past", "expected"),
    [
        ([], []),
        (["1"], []),
        (["1", "2", "3"], ["2", "1"]),
        (["1", "2", "3", "back 2"], ["1"]),
        (["1", "2", "3", "back 2", "4"], ["2", "1"]),
        (["1", "2", "3", "back 1"], []),
    ],
)
def test_where_a_rollback_goes(past, expected):
    steps = [
        move(n, "rollback" if text.startswith("back") else "promote", text.removeprefix("back "))
        for n, text in enumerate(past)
    ]
    assert earlier_champions(steps) == expected
