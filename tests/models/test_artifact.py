import json

import pytest

from models.artifact import MANIFEST, load, models_found, save
from models.fallback import Fallback
from models.popularity import Popularity, PopularityConfig
from models.rules import Rules
from nextbest.errors import ArtifactError


def test_round_trip_and_manifest(tmp_path):
    folder = save(Rules({"hot": 5.0}), tmp_path / "deep" / "model")
    assert load(folder).thresholds == {"hot": 5.0}
    manifest = json.loads((folder / MANIFEST).read_text())
    assert (manifest["format"], manifest["kind"], list(manifest["files"])) == (
        1,
        "rules",
        ["thresholds.json"],
    )


def test_saving_again_replaces_the_whole_folder_and_leaves_nothing_behind(tmp_path):
    save(Rules({"hot": 5.0}), tmp_path / "model")
    save(Popularity(PopularityConfig(variant="trending")), tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [MANIFEST, "popularity.json"]
    assert load(tmp_path / "model").config.variant == "trending"


def test_a_save_that_fails_leaves_the_old_one(tmp_path):
    class Torn(Rules):
        def save(self, folder):
            super().save(folder)
            raise OSError("disk full")

    save(Rules({"hot": 5.0}), tmp_path / "model")
    with pytest.raises(OSError, match="disk full"):
        save(Torn({}), tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert load(tmp_path / "model").thresholds == {"hot": 5.0}


def test_a_changed_file_is_named(tmp_path):
    folder = save(Rules({"hot": 5.0}), tmp_path / "model")
    (folder / "thresholds.json").write_text('{"hot": 500.0}')
    with pytest.raises(ArtifactError, match=r"thresholds\.json is damaged"):
        load(folder)


def test_a_missing_file_is_named(tmp_path):
    folder = save(Rules({"hot": 5.0}), tmp_path / "model")
    (folder / "thresholds.json").unlink()
    with pytest.raises(ArtifactError, match=r"thresholds\.json is missing"):
        load(folder)


def test_no_model_there(tmp_path):
    with pytest.raises(ArtifactError, match=r"no model in .*manifest\.json is missing"):
        load(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("{", "is damaged"),
        ("[]", "names no files"),
        ('{"format": 1, "kind": "rules"}', "names no files"),
        ('{"format": 2, "kind": "rules", "files": {}}', "format 2; this version reads 1"),
        ('{"format": 1, "kind": "chrun", "files": {}}', "no model 'chrun'.*known: .*popularity"),
        ('{"format": 1, "kind": "os.path", "files": {}}', "no model 'os.path'"),
        ('{"format": 1, "kind": null, "files": {}}', "no model None"),
        ('{"format": 1, "kind": "rules", "files": {"../outside": "0"}}', "outside the folder"),
        ('{"format": 1, "kind": "rules", "files": {}}', "rules in .* cannot be read"),
    ],
)
def test_a_manifest_that_cannot_be_used(tmp_path, manifest, message):
    (tmp_path / MANIFEST).write_text(manifest)
    with pytest.raises(ArtifactError, match=message):
        load(tmp_path)


def test_models_are_found_by_their_files():
    found = models_found()
    assert {"rules", "rfm", "popularity", "frequency", "fallback"} <= set(found)
    assert found["rules"] is Rules
    assert found["fallback"] is Fallback


def test_files_of_a_model_may_lie_in_folders(tmp_path):
    ladder = Fallback(Rules({"hot": 1.0}), Fallback(Rules({"hot": 2.0}), Rules({"hot": 3.0})))
    folder = save(ladder, tmp_path / "model")
    again = load(folder)
    assert again.backup.backup.thresholds == {"hot": 3.0}
    (folder / "backup" / "primary" / "thresholds.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"backup/primary/thresholds\.json is damaged"):
        load(folder)
