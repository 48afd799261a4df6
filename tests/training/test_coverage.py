import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from models.basket import Basket, BasketConfig, Baskets
from nextbest.cli import app
from nextbest.settings import Settings
from training import _counted
from training.coverage import baskets, coverage


def lines(rows):
    """Return lines of (day, items)."""
    told = [(f"o{n}", item, 86_400.0 * day + n) for n, (day, items) in enumerate(rows) for item in items]
    return pd.DataFrame(told, columns=["order_id", "item_id", "time"])


def learned(words, **options):
    return Basket.learn(baskets(lines([(0, word) for word in words])), BasketConfig(**options))


BEFORE = ["ab"] * 60 + ["cd"] * 60 + ["ef"] * 60 + ["a", "c", "e"] * 20 + ["z"] * 300


def by_rule(found):
    return {(row.item_1, row.consequent): row for row in found.rules.itertuples()}


def test_what_was_promised_and_what_came():
    later = ["ab"] * 30 + ["a"] * 10 + ["cd"] * 10 + ["c"] * 30 + ["e"] * 40 + ["z"] * 80
    found = coverage(learned(BEFORE), baskets(lines([(1, word) for word in later])))
    rules = by_rule(found)
    held, fell, stopped = rules["a", "b"], rules["c", "d"], rules["e", "f"]
    assert held.promised == pytest.approx(60 / 80)
    assert (held.fired, held.hits, held.state) == (40, 30, "holds")
    assert held.low < 0.75 < held.high
    assert (fell.fired, fell.hits, fell.state) == (40, 10, "fell")
    assert fell.base_rate == pytest.approx(10 / 200)
    assert (stopped.fired, stopped.hits, stopped.state) == (40, 0, "stopped")
    assert found.stopped[["item_1", "consequent"]].to_numpy().tolist() == [["e", "f"]]
    assert found.figures["coverage"] == pytest.approx(40 / 200)
    assert found.figures["fired"] == pytest.approx(120 / 200)
    assert found.figures["rules_stopped"] == 1


def test_chance_retires_nothing_and_silence_neither():
    random = np.random.default_rng(1)
    later = ["ab" if random.random() < 0.75 else "a" for _ in range(400)]
    found = coverage(learned(BEFORE), baskets(lines([(1, word) for word in later])))
    assert found.figures["rules_stopped"] == found.figures["rules_fell"] == 0
    assert ("c", "d") not in by_rule(found)


def test_rules_of_several_antecedents_fire_where_all_are_there():
    model = learned(["abcd"] * 30 + ["a", "b", "c", "d"] * 40 + ["z"] * 200)
    rules = coverage(model, baskets(lines([(1, "abcd"), (1, "abc"), (1, "ab"), (1, "x")]))).rules
    triple = rules[rules["item_3"] != ""]
    (row,) = triple[triple["consequent"] == "d"].itertuples()
    assert ((row.item_1, row.item_2, row.item_3), row.fired, row.hits) == (("a", "b", "c"), 2, 1)


def test_a_retired_rule_is_not_offered_and_stays_listed(tmp_path):
    data = baskets(lines([(0, word) for word in BEFORE]))
    gone = pd.DataFrame({"item_1": ["e", "no"], "item_2": "", "item_3": "", "consequent": ["f", "a"]})
    model = Basket.learn(data, BasketConfig(), retired=gone)
    model.save(tmp_path)
    for one in (model, Basket.load(tmp_path)):
        assert one.bought_together(["e"], 5) == []
        assert [rule.consequent for rule in one.bought_together(["f"], 5)] == ["e"]
        assert one.retired["consequent"].tolist() == ["f", "a"]


@pytest.fixture
def watched(monkeypatch):
    """Record how many baskets are counted."""
    seen = []
    updated = _counted.PairCounts.updated
    monkeypatch.setattr(
        _counted.PairCounts, "updated", lambda self, new: seen.append(len(new)) or updated(self, new)
    )
    return seen


def counted(tmp_path, rows):
    frame = lines(rows)
    return _counted.counted(Settings(home=tmp_path), frame, baskets(frame))


def test_only_new_days_are_counted_and_any_doubt_counts_all(tmp_path, watched):
    first = [(1, "ab"), (1, "abc"), (2, "bc")]
    grown = [*first, (3, "ab"), (4, "dc")]
    counted(tmp_path, first)
    after = counted(tmp_path, grown)
    counted(tmp_path, grown)
    assert watched == [3, 2]
    whole = baskets(lines(grown))
    level = after.level(whole.item_ids, 1)
    anew = _counted.PairCounts.of(whole).level(whole.item_ids, 1)
    np.testing.assert_array_equal(level.items, anew.items)
    np.testing.assert_array_equal(level.baskets, anew.baskets)
    counted(tmp_path, [(1, "ab"), (1, "abd"), *grown[2:]])  # a line of a counted day is another
    assert watched[-1] == 5
    counted(tmp_path, grown[1:])  # erased
    assert watched[-1] == 4
    (tmp_path / "counts" / "counts.json").write_text("{")
    counted(tmp_path, grown)
    assert watched[-1] == 5


def test_an_order_over_a_counted_and_a_new_day_is_counted_as_one(tmp_path, watched):
    frame = lines([(1, "ab"), (1, "c")])
    settings = Settings(home=tmp_path)
    _counted.counted(settings, frame, baskets(frame))
    more = pd.concat([frame, pd.DataFrame({"order_id": ["o1"], "item_id": ["a"], "time": [86_400.0 * 5]})])
    pairs = _counted.counted(settings, more, baskets(more))
    assert watched[-1] == 2
    assert sorted(pairs.counts.tolist()) == [1, 1]


def test_too_many_pairs_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(_counted, "MOST", 3)
    assert counted(tmp_path, [(1, "abc")]) is not None
    assert counted(tmp_path, [(1, "abc"), (2, "ab")]) is None


@pytest.fixture
def champion(monkeypatch):
    """Put a model in the registry's place; returns what its tags are."""
    tags = {"validation_until": "1970-01-02T00:00:00+00:00"}

    class Registry:
        def __init__(self, settings):
            pass

        def champion(self, name):
            return ("3", tags) if tags else None

        def load(self, name, version):
            return learned(BEFORE)

    later = lines([(0, word) for word in BEFORE] + [(1, "ab"), (5, "ab"), (6, "a")])
    monkeypatch.setattr("training.coverage.Registry", Registry)
    monkeypatch.setattr(
        "training.coverage.purchases", lambda settings, now: later[later["time"] <= now.timestamp()]
    )
    return tags


def test_the_report_compares_the_champion_with_what_came_after(champion, tmp_path):
    command = ["report", "coverage", "--home", str(tmp_path), "--now", "1970-01-10"]
    told = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert (told["version"], told["baskets"]) == ("3", 3)
    (rule,) = (rule for rule in told["fired_most"] if rule["item_1"] == "a")
    assert (rule["fired"], rule["hits"], rule["state"]) == (3, 2, "holds")
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0
    assert "promised" in shown.stdout
    told = json.loads(CliRunner().invoke(app, [*command, "--json", "--days", "2"]).stdout)
    assert told["baskets"] == 2


def test_without_a_champion_or_later_baskets_the_report_says_so(champion, tmp_path):
    command = ["report", "coverage", "--home", str(tmp_path), "--now"]
    early = CliRunner().invoke(app, [*command, "1970-01-02"])
    assert early.exit_code == 2
    assert "nothing was bought after" in early.stderr
    champion.clear()
    assert "train basket" in CliRunner().invoke(app, [*command, "1970-01-10"]).stderr


def test_a_season_is_watched_in_its_months():
    days = [(330, word) for word in BEFORE]
    model = Basket.learn(baskets(lines(days)), BasketConfig(season="11"))
    later = baskets(lines([(695, "ab"), (10, "a")]))
    assert coverage(model, later).figures["baskets"] == 1
    assert Baskets.of(["o"], ["a"], [0.0]).time.tolist() == [0.0]
