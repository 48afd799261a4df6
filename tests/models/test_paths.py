"""Paths of a simulated shop whose chances are known, and of streams small enough to count by hand."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from models._path_table import false_discovery, two_sided, wilson
from models._shelf import shelf_of
from models._sources import columns_of
from models._walks import Steps, label
from models.paths import Paths, PathsConfig
from nextbest.errors import BadInput, NotReady
from training.simulated_walks import simulate_walks, simulated_items

UNTIL = datetime(2026, 3, 1, tzinfo=UTC)
DAY = 86_400.0
COLUMNS = ["contact_id", "time", "event", "category", "item_id", "order_id"]
CART = "product_viewed:shoes > product_added:shoes"


def frame(*rows):
    """Events as (contact, day, event, category); an order's item is named after its category."""
    made = [
        (who, day * DAY, event, about, f"{about}-1", f"{who}{day}" if event == "order_completed" else None)
        for who, day, event, about in rows
    ]
    return pd.DataFrame(made, columns=COLUMNS)


@pytest.fixture(scope="module")
def simulated():
    """1,800 simulated walks."""
    events = simulate_walks(300, 6, UNTIL, 3)
    categories = simulated_items().set_index("item_id")["category"]
    times = events["timestamp"].map(lambda moment: moment.timestamp())
    return events.assign(time=times, category=events["item_id"].map(categories))[COLUMNS]


@pytest.fixture(scope="module")
def learned(simulated):
    return Paths.learn(simulated, until=UNTIL.timestamp())


def row(table, path, category=None):
    of = table["category"].isna() if category is None else table["category"] == category
    return table[(table["path"] == path) & of].iloc[0]


@pytest.mark.parametrize(
    ("path", "category", "chance"),
    [
        (CART, "shoes", 0.6),
        ("product_viewed:shoes > products_searched", "shoes", 0.05),
        ("message_opened > product_viewed:hats", "hats", 0.3),
        ("page_viewed", "hats", 0.02),
        ("product_viewed:shoes", "shoes", 0.325),
        ("product_viewed:hats", None, 0.2),
    ],
)
def test_the_chances_put_in_come_out_within_their_intervals(learned, path, category, chance):
    found = row(learned.table(), path, category)
    assert found["low"] <= chance <= found["high"]
    assert found["conversion"] == found["ordered"] / found["paths"]
    assert found["lift"] == pytest.approx(found["conversion"] / found["base"])


def test_what_leads_to_orders_is_told_from_what_does_not(learned):
    table = learned.table()
    sure = table[(table["q_value"] <= 0.01) & (table["category"] == "shoes")].sort_values("lift")
    assert sure["path"].iloc[-1] in {CART, "product_added:shoes"}
    assert row(table, "product_viewed:shoes > products_searched")["lift"] < 0.5
    assert {"page_viewed", "products_searched"} <= set(table.loc[table["lift"] < 0.4, "path"])


def test_chance_alone_finds_no_paths(simulated):
    """The same walks with the purchases dealt out at random: q-values keep the false ones off."""
    orders = simulated["event"] == "order_completed"
    shuffled = simulated.copy()
    contacts = np.random.default_rng(5).permutation(shuffled["contact_id"].unique())
    number = np.random.default_rng(6).integers(0, len(contacts), int(orders.sum()))
    shuffled.loc[orders, "contact_id"] = contacts[number]
    table = Paths.learn(shuffled, until=UNTIL.timestamp()).table()
    assert (table["q_value"] <= 0.05).mean() < 0.05


def test_a_shopper_on_a_path_is_shown_what_its_walkers_bought(learned, make_shopper, make_catalogue):
    steps = [("product_added", "shoes", 0.01), ("product_viewed", "shoes", 0.02)]
    items = {name: {"category": name.partition("-")[0]} for name in simulated_items()["item_id"]}
    catalogue, shopper = make_catalogue(items), make_shopper(steps=steps)
    ranking = learned.recommend(shopper, catalogue, 4)
    assert ranking.item_ids[0] == "shoes-0"
    assert all(item.startswith("shoes") for item in ranking.item_ids)
    assert ranking.reasons[0].because["path"] == CART
    assert ranking.reasons[0].because["lift"] > 2
    assert 0.2 < ranking.probabilities[0] < 0.5
    assert len(learned.recommend(make_shopper(), catalogue, 4)) == 0
    looked_at = learned.recommend(make_shopper(), catalogue, 4, ["hats-1"])
    assert looked_at.item_ids[0] == "hats-0"


def test_features_are_the_chances_of_the_path(learned, make_shopper):
    numbers = learned.numbers(["hats", "shoes", "never bought"])
    steps = [
        ("product_added", "shoes", 1.0),
        ("product_viewed", "shoes", 1.5),
        ("product_viewed", "shoes", 2.0),
    ]
    found = learned.features(make_shopper(steps=steps), numbers)
    assert found["walked_chance"][1] == pytest.approx(0.6, abs=0.08)
    assert found["walked_chance"][0] < 0.02
    assert found["walked_lift"][1] > 3
    assert found["walked_chance"][2] == 0
    assert np.isnan(found["walked_lift"][2])
    assert (found["walked_steps"][0], found["walked_days"][0]) == (3.0, 1.0)
    nothing = learned.features(make_shopper(), numbers)
    assert nothing["walked_steps"].tolist() == [0.0, 0.0, 0.0]
    assert np.isnan(nothing["walked_chance"]).all()


def test_as_a_source_it_offers_what_the_path_stands_out_for(learned, make_shopper, make_catalogue):
    items = {name: {"category": name.partition("-")[0]} for name in simulated_items()["item_id"]}
    catalogue = make_catalogue(items | {"new": {"category": "new"}})
    source = learned.tied(shelf_of(catalogue))
    shopper = make_shopper(steps=[("product_added", "shoes", 0.1), ("product_viewed", "shoes", 0.2)])
    said = source.ask(shopper, ())
    assert all(str(catalogue.item_ids[row]).startswith("shoes") for row in said.offered)
    rows = np.arange(len(catalogue))
    columns = dict(zip(columns_of(Paths), said.of(rows), strict=True))
    wanted = learned.features(shopper, learned.numbers(catalogue.categories.tolist()))
    for name, values in wanted.items():
        np.testing.assert_array_equal(columns[name], values)
    ranking = learned.recommend(shopper, catalogue, 20)
    shares = dict(zip(ranking.item_ids, ranking.scores, strict=True))
    assert columns["walked_item"].tolist() == [shares.get(str(item), 0.0) for item in catalogue.item_ids]
    assert columns["walked_chance_best"].max() == columns["walked_item_best"].max() == 1.0
    assert said.reason(catalogue.index["shoes-0"]).because["path"] == CART
    assert said.reason(catalogue.index["hats-0"]) is None
    assert source.ask(make_shopper(), ()) is None
    assert source.ask(make_shopper(), ["hats-0"]).node == learned.node(
        [learned.steps.index("product_viewed:hats")]
    )


@pytest.mark.parametrize(
    ("bought", "steps"),
    [
        ({"shoes-1": [0.5]}, [("product_added", "shoes", 0.6)]),  # before the last order
        ({}, [("product_added", "shoes", 31.0)]),  # so long ago that the path is over
        ({}, [("message_delivered", "", 0.1)]),  # no step
    ],
)
def test_what_is_no_path_any_more(learned, make_shopper, bought, steps):
    assert learned.walked(make_shopper(bought, steps=steps)).steps == 0


def test_steps_unknown_or_rare_fall_back_to_what_is_known(learned, make_shopper):
    def node(*steps):
        return learned.node(learned.walked(make_shopper(steps=steps)).codes)

    known = node(("product_added", "shoes", 0.1), ("product_viewed", "shoes", 0.2))
    assert learned.text(known) == CART
    after_something_else = ("product_added", "shoes", 0.1), ("products_searched", "", 0.2)
    assert learned.text(node(*after_something_else)) == "product_added:shoes"
    assert node(("never_heard_of", "", 0.1)) == 0
    assert learned.text(node(("product_viewed", "rare", 0.1))) == ""


def test_live_and_counted_paths_agree(learned, simulated, make_shopper):
    """What the model says of a shopper's last steps is what it says of the same steps in a frame."""
    one = simulated[simulated["contact_id"] == simulated["contact_id"].iloc[0]].sort_values("time")
    steps = Steps.of(one, learned.config.idle_days)
    orders, _ = learned.foretell(steps, np.arange(len(steps)))
    now = 1_700_000_000.0
    for place in range(len(steps)):
        past = one[(one["time"] <= steps.times[place]) & (one["event"] != "order_completed")][::-1]
        before = one[(one["time"] < steps.times[place]) & (one["event"] == "order_completed")]
        ago = (steps.times[place] - past["time"]) / DAY
        taken = list(zip(past["event"], past["category"].fillna(""), ago, strict=True))
        bought = {"i": ((steps.times[place] - before["time"]) / DAY).tolist()} if len(before) else {}
        shopper = make_shopper(bought, steps=taken, now=now)
        assert learned.chances(learned.node(learned.walked(shopper).codes))[0] == orders[place]


# --- counted by hand


def test_a_path_ends_with_an_order_or_a_pause_and_counts_once():
    events = frame(
        ("a", 1, "product_viewed", "shoes"), ("a", 1.1, "product_viewed", "shoes"),
        ("a", 2, "order_completed", "shoes"),
        ("a", 3, "product_viewed", "shoes"), ("a", 3.1, "wished", ""), ("a", 3.2, "product_viewed", "shoes"),
        ("a", 50, "product_viewed", "shoes"), ("a", 56, "order_completed", "hats"),
        ("b", 1, "product_viewed", "shoes"), ("b", 9, "order_completed", "shoes"),
        ("c", 99, "product_viewed", "shoes"), ("c", 99.5, "order_completed", "shoes"),
    )  # fmt: skip
    table = Paths.learn(events, PathsConfig(least=1), until=100 * DAY).table()
    viewed = row(table, "product_viewed:shoes")
    assert (viewed["paths"], viewed["contacts"], viewed["ordered"]) == (4, 2, 2)  # c's week is not over
    assert row(table, "product_viewed:shoes", "shoes")["ordered"] == 1
    assert row(table, "product_viewed:shoes > wished > product_viewed:shoes")["ordered"] == 0
    assert not table["path"].str.contains("shoes > product_viewed").any()


def test_a_step_at_the_moment_of_an_order_came_before_it():
    events = frame(
        ("a", 1, "coupon_redeemed", ""),
        ("a", 1, "order_completed", "x"),
        ("b", 1, "order_completed", "x"),
        ("b", 1.5, "coupon_redeemed", ""),
    )
    found = row(Paths.learn(events, PathsConfig(least=1), until=9 * DAY).table(), "coupon_redeemed")
    assert (found["paths"], found["ordered"]) == (2, 1)


def test_lines_of_an_order_at_different_moments_are_one_purchase():
    events = frame(("a", 1, "x", ""), ("a", 2, "order_completed", "p"), ("a", 3, "order_completed", "q"))
    events.loc[1:, "order_id"] = "one"
    table = Paths.learn(events, PathsConfig(least=1), until=20 * DAY).table()
    assert row(table, "x", "p")["ordered"] == row(table, "x", "q")["ordered"] == 1


def test_later_events_change_nothing_that_was_over():
    early = frame(
        *[(f"c{n}", n, "product_viewed", "shoes") for n in range(40)],
        *[(f"c{n}", n + 1, "order_completed", "shoes") for n in range(0, 40, 3)],
    )
    late = frame(*[(f"c{n}", 48 + n / 9, "order_completed", "hats") for n in range(40)])
    until = 47 * DAY
    one = Paths.learn(early, PathsConfig(least=5), until=until)
    whole = Steps.of(pd.concat([early, late]), one.config.idle_days)
    other = Paths.counted(whole, one.config, until)
    pd.testing.assert_frame_equal(one.table(), other.table())


def test_rates_are_shrunk_to_those_of_shorter_paths():
    events = frame(
        *[(f"a{n}", 1, "x", "") for n in range(10)],
        *[(f"a{n}", 2, "order_completed", "p") for n in range(4)],
        *[(f"b{n}", 1, "y", "") for n in range(30)],
    )
    model = Paths.learn(events, PathsConfig(least=5, prior=10.0), until=30 * DAY)
    base, chance = model.chances(0)[0], model.chances(model.node([model.steps.index("x")]))[0]
    assert base == pytest.approx(0.1)
    assert chance == pytest.approx((4 + 10 * 0.1) / 20)


def test_intervals_and_tests_are_the_textbooks():
    low, high = wilson(np.array([0.5]), np.array([10.0]))
    assert (low[0], high[0]) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert two_sided(np.array([8.0]), np.array([10.0]), np.array([0.5])) == pytest.approx(2 * 56 / 1024)
    assert two_sided(np.array([0.0]), np.array([4.0]), np.array([0.5])) == pytest.approx(2 / 16)
    assert false_discovery(np.array([0.04, 0.01, 0.03]), 4).tolist() == pytest.approx(
        [0.04 * 4 / 3, 0.04, 0.04 * 4 / 3]
    )


def test_one_contact_alone_is_little_evidence():
    events = frame(
        *[("a", 9 * n, "x", "") for n in range(30)],
        *[("a", 9 * n + 1, "order_completed", "p") for n in range(30)],
    )
    found = row(Paths.learn(events, until=400 * DAY).table(), "x")
    assert (found["paths"], found["contacts"], found["conversion"]) == (30, 1, 1.0)
    assert found["low"] < 0.3


def test_too_few_paths_and_wrong_settings_are_said():
    orders = frame(*[(f"c{n}", n, "order_completed", "p") for n in range(30)])
    with pytest.raises(NotReady, match="steps between purchases"):
        Paths.learn(orders)
    with pytest.raises(NotReady):
        Paths.learn(orders.head(0))
    with pytest.raises(BadInput, match="idle_days"):
        PathsConfig(horizon_days=40.0)
    with pytest.raises(BadInput, match="length is -1"):
        PathsConfig(length=-1)


def test_labels_read_well():
    assert label("product_viewed", "shoes/boots") == "product_viewed:shoes/boots"
    assert label("page_viewed", "") == "page_viewed"
