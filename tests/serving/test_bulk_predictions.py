"""`score predictions` answers as POST /v1/predictions does, contact by contact."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from nextbest.bulk import SCHEMAS, score
from nextbest.columns import EVENT_COLUMNS
from nextbest.errors import BadInput
from nextbest.progress import silent
from serving.engine import Engine
from serving.schemas import TASKS
from serving.web import create_app

PATIENT = {"budget_ms": 60_000.0, "campaign_budget_ms": 60_000.0}


def event(world: Any, number: int, contact: str, name: str) -> dict[str, Any]:
    moment = world.now - timedelta(hours=number + 1)
    bought = {"order_id": f"o-{number}", "quantity": 2.0, "price": 4.0} if name == "order_completed" else {}
    return {
        **dict.fromkeys(EVENT_COLUMNS), "event_id": f"news-{number}", "event": name, "timestamp": moment,
        "received_at": moment, "contact_id": contact, "item_id": world.items[0], **bought,
    }  # fmt: skip


def test_bulk_and_live_say_the_same_of_each_contact(
    broken_world: Callable[[], Any], tmp_path: Path, client_of: Any
) -> None:
    world = broken_world()
    settings = world.settings.model_copy(update=PATIENT)
    engine = Engine(settings, lambda: world.now)
    bought, looked, known = "a new contact", "one who looks around", world.contacts
    news = [*known[:3], bought]
    engine.log.append([event(world, n, contact, "order_completed") for n, contact in enumerate(news)])
    engine.log.append([event(world, 9, looked, "product_viewed")])
    ids = [known[40], bought, *known[:30], looked, "nobody"]
    asked, out = tmp_path / "ids.csv", tmp_path / "predictions.parquet"
    asked.write_text("contact_id\n" + "\n".join(ids))
    summary = score(settings, "predictions", out, asked, 10, silent)
    table = pq.read_table(out)
    assert table.schema.equals(SCHEMAS["predictions"])
    assert (summary.contacts, summary.rows, table.num_rows) == (len(ids), 3 * len(ids), 3 * len(ids))
    written = {(row["contact_id"], row["task"]): row for row in table.to_pylist()}
    assert set(written) == {(contact, task) for contact in ids for task in TASKS}
    with client_of(create_app(lambda: engine)) as client:  # which closes the engine
        answer = client.post("/v1/predictions", json={"contact_ids": ids})
        assert answer.status_code == 200
    sources: dict[str, int] = {}
    for contact in answer.json()["contacts"]:
        for task, said in contact["predictions"].items():
            row = written[contact["contact_id"], task]
            value = said["probability"] if task == "churn" else said["value"]
            mine = [row[name] for name in ("value", "low", "high", "percentile")]
            theirs = [value, said["low"], said["high"], said["percentile"]]
            assert [one is None for one in mine] == [one is None for one in theirs], (contact, task)
            assert [one for one in mine if one is not None] == pytest.approx(
                [one for one in theirs if one is not None], rel=1e-9
            )
            assert row["source"] == said["source"]
            if task == "churn":
                assert row["band"] == said["band"]
            sources[row["source"]] = sources.get(row["source"], 0) + 1
    assert sources == summary.sources
    assert written["nobody", "churn"]["source"] == written[looked, "churn"]["source"] == "not_enough_data"
    assert written[bought, "churn"]["source"] != "not_enough_data"


def test_everyone_is_everyone_of_the_last_build_and_the_file_is_whole_or_not_there(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, out = world.settings.model_copy(update=PATIENT), tmp_path / "all.parquet"
    told: list[int] = []
    summary = score(settings, "predictions", out, None, 10, lambda _, done, total: told.append(done))
    assert summary.contacts == len(world.contacts) == told[-1]
    found = pq.read_table(out, columns=["contact_id", "value", "task"]).to_pandas()
    assert sorted(found["contact_id"].unique()) == world.contacts
    churn = found.loc[found["task"] == "churn", "value"]
    assert churn.between(0, 1).all()
    before = out.read_bytes()
    monkeypatch.setattr("nextbest.bulk._of_task", lambda *asked: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        score(settings, "predictions", out, None, 10, silent)
    assert out.read_bytes() == before
    assert list(tmp_path.iterdir()) == [out]


def test_what_cannot_be_asked_is_said(world: Any, tmp_path: Path) -> None:
    empty = tmp_path / "nobody.csv"
    empty.write_text("contact_id\n")
    with pytest.raises(BadInput, match="names no contact"):
        score(world.settings, "predictions", tmp_path / "x.parquet", empty, 10, silent)
    with pytest.raises(BadInput, match="predictions can be asked for contacts only"):
        score(world.settings, "predictions", tmp_path / "x.parquet", None, 10, silent, {"tasks": "churn"})
