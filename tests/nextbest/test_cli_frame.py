"""What every command shares: times, key=value options, one-line errors."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nextbest.cli import app, moment, pairs, read_settings
from nextbest.errors import BadInput

run = CliRunner()


def test_a_moment_without_a_zone_is_utc() -> None:
    assert moment("2026-01-31") == datetime(2026, 1, 31, tzinfo=UTC)
    assert moment("2026-01-31T12:00:00+02:00").astimezone(UTC).hour == 10


def test_a_bad_moment_says_what_would_work() -> None:
    with pytest.raises(BadInput, match="'tomorrow' is not a time; write it as 2026-01-31"):
        moment("tomorrow")


def test_pairs() -> None:
    assert pairs(["a=1", "b=x=y"], "--set") == {"a": "1", "b": "x=y"}
    with pytest.raises(BadInput, match="--set takes key=value, got 'a'"):
        pairs(["a"], "--set")


def test_options_come_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTBEST_PORT", "4000")
    monkeypatch.setenv("NEXTBEST_HOST", "127.0.0.2")
    settings = read_settings(tmp_path, "2026-01-31", port=5000)
    assert (settings.port, settings.host, settings.home) == (5000, "127.0.0.2", tmp_path)
    assert settings.present() == datetime(2026, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ingest", "nowhere.csv", "--map", "contact_id=A"], "nowhere.csv"),
        (["ingest", "complete-journy"], "complete-journey"),
        (["features", "build", "--now", "yesterday"], "'yesterday' is not a time"),
        (["train", "chrun"], "churn"),
        (["score", "predictions", "--out", "x.parquet"], "nextbest"),
    ],
)
def test_errors_are_one_line_and_say_what_would_work(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXTBEST_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("COLUMNS", "400")
    result = run.invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert "Traceback" not in result.output


def test_a_misspelt_setting_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTBEST_PORT", "many")
    result = run.invoke(app, ["doctor", "--home", str(tmp_path)])
    assert result.exit_code == 2
    assert "port" in result.output


def test_doctor_on_an_empty_home_names_the_first_command(tmp_path: Path) -> None:
    result = run.invoke(app, ["doctor", "--home", str(tmp_path / "none"), "--json"])
    findings = {f["part"]: f for f in json.loads(result.stdout)}
    assert findings["events"]["state"] == "missing"
    assert "nextbest ingest" in findings["events"]["mend"]
    assert findings["keys"]["state"] == "ok"


@pytest.mark.parametrize(
    ("toml", "message"),
    [("port = = 3", "nextbest.toml in this folder cannot be read"), ("prot = 3", "did you mean 'port'?")],
)
@pytest.mark.parametrize(
    "command", [["doctor"], ["models", "promote", "churn", "1"], ["models", "rollback", "churn"]]
)
def test_a_damaged_settings_file_is_one_line(
    command: list[str], toml: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    (tmp_path / "nextbest.toml").write_text(toml)
    result = run.invoke(app, [*command, "--home", str(tmp_path / "home")])
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", b"", "cannot be read"),
        ("broken.parquet", b"PAR?", "cannot be read"),
        ("other.csv", b"kunde\n1\n", "has no column contact_id; it has: kunde"),
        ("nobody.csv", b"contact_id\n", "names no contact"),
    ],
)
def test_contacts_that_cannot_be_read_are_one_line(
    name: str, content: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    (tmp_path / name).write_bytes(content)
    arguments = [
        "score",
        "channels",
        "--out",
        str(tmp_path / "x.parquet"),
        "--contacts",
        str(tmp_path / name),
    ]
    result = run.invoke(app, [*arguments, "--home", str(tmp_path)])
    assert (result.exit_code, message in result.output) == (2, True), result.output
    assert not (tmp_path / "x.parquet").exists()


@pytest.mark.parametrize(
    ("what", "ask", "message"),
    [
        ("recommendations", "placement", "--ask takes key=value, got 'placement'"),
        ("recommendations", "place=home", "unknown field 'place'; known: contact_id"),
        ("recommendations", "max_per_category=few", "'max_per_category'"),
        ("channels", "placement=home", "unknown field 'placement'; known: contact_ids, channels"),
        ("channels", "window_hours=soon", "'window_hours'"),
        ("predictions", "k=3", "predictions can be asked for contacts only"),
    ],
)
def test_fields_that_cannot_be_asked_for_are_one_line(
    what: str, ask: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "800")
    arguments = ["score", what, "--out", str(tmp_path / "x.parquet"), "--ask", ask, "--home", str(tmp_path)]
    result = run.invoke(app, arguments)
    assert (result.exit_code, message in result.output) == (2, True), result.output


def test_contacts_are_read_by_their_own_separator(tmp_path: Path) -> None:
    from nextbest.bulk import read_contacts

    (tmp_path / "c.csv").write_text("name;contact_id\nA;1\nB;2\nC;1\n", encoding="utf-8-sig")
    assert read_contacts(tmp_path / "c.csv") == ["1", "2"]
