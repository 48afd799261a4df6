import numpy as np
import pandas as pd
import pytest

from models.nearest import top
from models.sequence import SequenceConfig, SequenceModel, vocabulary
from nextbest.errors import BadInput, NotReady

SMALL = {"width": 16, "length": 8, "negatives": 16, "learning_rate": 0.02, "dropout": 0.0}
SMALL |= {"epochs": 20, "patience": 20}
ITEMS = [f"i{number}" for number in range(8)]


def purchases(contacts, orders):
    """Return lines: order n of contact c holds what `orders(c, n)` names."""
    rows = [
        (f"c{c}", f"o{c}-{n}", item, float(n))
        for c in range(contacts)
        for n, basket in enumerate(orders(c))
        for item in basket
    ]
    return pd.DataFrame(rows, columns=["contact_id", "order_id", "item_id", "time"])


@pytest.fixture(scope="module")
def circle():
    """Whoever buys an item buys the next of the circle after it."""
    return purchases(80, lambda c: [[ITEMS[(c + n) % 8]] for n in range(9)])


@pytest.fixture(scope="module")
def model(circle):
    return SequenceModel.learn(circle, SequenceConfig(**SMALL), 1)


def test_it_learns_what_comes_next(model):
    for number in range(8):
        past = [ITEMS[(number + step) % 8] for step in range(3)]
        assert model.item_ids[model.scores(past).argmax()] == ITEMS[(number + 3) % 8]


def test_scores_are_log_probabilities(model):
    assert np.exp(model.scores(["i1", "i2"]).astype(float)).sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("heads", [1, 4])
def test_numpy_answers_as_torch_does(blocks, heads):
    import torch

    from models._sasrec import Net

    torch.manual_seed(0)
    config = SequenceConfig(width=16, length=6, blocks=blocks, heads=heads)
    net = Net(8, config)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
        net.eval()
        weights = {name: value.numpy() for name, value in net.state_dict().items()}
        model = SequenceModel(config, ITEMS, weights, 1)
        for past in ([3], [1, 2, 3], [7, 0, 1, 2, 3, 4]):
            states = net(torch.tensor([past]))[0, -1]
            wanted = torch.log_softmax(net.items.weight @ states, 0).numpy()
            np.testing.assert_allclose(model.scores([ITEMS[i] for i in past]), wanted, atol=2e-5)


def test_the_next_order_is_foretold_not_the_rest_of_this_one():
    pairs = [["a", "b"], ["c", "d"]]
    data = purchases(60, lambda c: [pairs[(c + n) % 2] for n in range(8)])
    model = SequenceModel.learn(data, SequenceConfig(**SMALL, min_count=1), 1)
    first = model.item_ids[top(model.scores(["c", "d", "a", "b"]), 2)]
    assert set(first) == {"c", "d"}
    assert set(model.item_ids[top(model.scores(["c", "d", "a"]), 2)]) == {"c", "d"}


def test_only_the_last_purchases_and_known_items_count(model):
    past = [ITEMS[n % 8] for n in range(30)]
    np.testing.assert_array_equal(model.scores(past), model.scores(["unheard of", *past[-8:]]))
    assert model.scores(["unheard of"]) is None
    assert model.scores([]) is None


def test_recommendations_are_of_the_shelf(model, make_shopper, make_catalogue):
    shelf = make_catalogue({item: {} for item in ITEMS if item != "i3"} | {"new": {}})
    shopper = make_shopper({"i2": [1], "i1": [2], "i0": [3]})
    ranking = model.recommend(shopper, shelf, 4)
    assert len(ranking) == 4
    assert "i3" not in ranking.item_ids
    assert ranking.reasons[0].because == {"item_id": "i2"}
    assert model.recommend(shopper, shelf, 1, ["i4"]).item_ids == ["i5"], "a cart comes last"
    assert len(model.recommend(make_shopper(), shelf, 4)) == 0


def test_the_same_seed_gives_the_same_weights_and_refitting_is_possible(circle):
    config = SequenceConfig(**{**SMALL, "epochs": 2})
    one, other = (SequenceModel.learn(circle, config, 5) for _ in range(2))
    np.testing.assert_array_equal(one.scores(["i1"]), other.scores(["i1"]))
    again = one.relearned(circle, 5)
    assert again.epochs == one.epochs
    assert not np.array_equal(again.scores(["i1"]), one.scores(["i1"]))
    assert SequenceModel.learn(circle, SequenceConfig(**{**SMALL, "epochs": 1}, refit=True), 5).epochs == 1


def test_categories_are_taken_as_text_is(circle):
    config = SequenceConfig(**{**SMALL, "epochs": 1})
    same = circle.astype({"contact_id": "category", "order_id": "category", "item_id": "category"})
    one, other = (SequenceModel.learn(data, config, 5) for data in (circle, same))
    np.testing.assert_array_equal(one.scores(["i1"]), other.scores(["i1"]))


def test_vocabulary_keeps_what_is_bought_most(circle):
    data = pd.concat([circle, purchases(3, lambda c: [["rare"]])])
    assert vocabulary(data, SequenceConfig(min_count=4)) == ITEMS
    assert "rare" in vocabulary(data, SequenceConfig(min_count=3))
    assert len(vocabulary(data, SequenceConfig(max_items=5))) == 5


def test_long_histories_are_cut_and_an_epoch_is_bounded():
    from models._histories import Histories, batches

    contact = np.repeat([0, 1, 2], [23, 2, 40])
    lines = Histories(contact, np.arange(65), np.arange(65))
    seen = [(i.numpy(), t.numpy()) for i, t in batches(lines, 10, 1000, np.random.default_rng(0))]
    assert max(items.shape[1] for items, _ in seen) <= 10
    pairs = {
        (a, b)
        for items, targets in seen
        for a, b in zip(items.ravel(), targets.ravel(), strict=True)
        if b >= 0
    }
    assert pairs == {(n, n + 1) for n in range(64) if n not in (22, 24)}
    few = [items.numel() for items, _ in batches(lines, 10, 12, np.random.default_rng(0))]
    assert sum(few) <= 30


def test_nothing_to_learn_is_not_ready():
    once = purchases(20, lambda c: [["a", "b"]])
    with pytest.raises(NotReady, match="no contact has two orders"):
        SequenceModel.learn(once, SequenceConfig(min_count=1))
    with pytest.raises(NotReady, match="0 items were bought 5 times"):
        SequenceModel.learn(once.head(3))
    with pytest.raises(NotReady):
        SequenceModel.learn(once.head(0))


def test_two_contacts_are_enough():
    tiny = purchases(2, lambda c: [["a"], ["b"]])
    model = SequenceModel.learn(tiny, SequenceConfig(**SMALL, min_count=1))
    assert model.item_ids.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("wrong", "message"), [({"width": 0}, "width is 0"), ({"width": 10, "heads": 3}, "multiple")]
)
def test_wrong_sizes_are_named(wrong, message):
    with pytest.raises(BadInput, match=message):
        SequenceConfig(**wrong)


class Killed(Exception):
    pass


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_what_was_killed_goes_on_and_ends_as_if_nothing_had_happened(circle, tmp_path, average):
    config = SequenceConfig(**{**SMALL, "epochs": 5, "dropout": 0.3, "average": average})
    checkpoint = tmp_path / "kept" / "sequence.safetensors"
    seen = []

    def die(stage, done, total):
        seen.append(done)
        if done == 3:
            raise Killed

    whole = SequenceModel.learn(circle, config, 5)
    with pytest.raises(Killed):  # the third epoch is over, its checkpoint not yet written
        SequenceModel.learn(circle, config, 5, die, checkpoint)
    assert checkpoint.exists()
    seen.clear()
    again = SequenceModel.learn(circle, config, 5, lambda _, done, total: seen.append(done), checkpoint)
    assert seen[0] == 3, "two epochs were not learned anew"
    assert again.epochs == whole.epochs
    for name, weight in whole.weights.items():
        np.testing.assert_array_equal(again.weights[name], weight)
    assert not list(tmp_path.rglob("*.safetensors*")), "nothing is left behind"


def test_a_checkpoint_of_something_else_or_a_damaged_one_is_not_used(circle, tmp_path):
    config = SequenceConfig(**{**SMALL, "epochs": 2})
    checkpoint = tmp_path / "sequence.safetensors"

    def die(stage, done, total):
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        SequenceModel.learn(circle, config, 5, die, checkpoint)
    other = SequenceModel.learn(circle, config, 6)
    same = SequenceModel.learn(circle, config, 6, checkpoint=checkpoint)
    np.testing.assert_array_equal(same.scores(["i1"]), other.scores(["i1"]))
    checkpoint.write_bytes(b"half a fi")
    same = SequenceModel.learn(circle, config, 6, checkpoint=checkpoint)
    np.testing.assert_array_equal(same.scores(["i1"]), other.scores(["i1"]))


def test_sizes_follow_from_the_data():
    small, large = SequenceConfig().sized(200, 2_000), SequenceConfig().sized(20_000, 1_400_000)
    assert small.width < large.width
    assert small.dropout > large.dropout
    assert small.epochs > large.epochs
    told = SequenceConfig(width=48, dropout=0.1, epochs=3)
    assert told.sized(20_000, 1_400_000) == told


def test_a_full_softmax_learns_the_same_circle_as_a_sampled_one(circle):
    for full in (0, 100):
        model = SequenceModel.learn(circle, SequenceConfig(**SMALL, full_softmax=full), 1)
        assert model.item_ids[model.scores(["i1", "i2"]).argmax()] == "i3"


def test_early_stopping_leaves_out_what_was_bought_where_nothing_is_bought_twice():
    from models._histories import Histories, split_last

    for repeats in (False, True):
        lines = purchases(30, lambda c, again=repeats: [["a"], ["b"], ["a" if again else "c"]])
        _, check = split_last(Histories.of(lines, ["a", "b", "c"]), 5, 10, 1.0, 0)
        assert check.only_new is not repeats


@pytest.fixture(scope="module")
def two_shelves():
    """Who buys shoes goes on with shoes, who buys tea with tea; new1 and new2 were bought by nobody."""
    random = np.random.default_rng(0)
    shelves = [[f"shoe{n}" for n in range(6)], [f"tea{n}" for n in range(6)]]
    return purchases(120, lambda c: [[i] for i in random.permutation(shelves[c % 2])[:5]])


def test_a_new_product_is_recommended_to_those_who_buy_its_like(two_shelves, make_catalogue):
    model = SequenceModel.learn(two_shelves, SequenceConfig(**SMALL, min_count=1), 1)
    shelf = make_catalogue(
        {f"shoe{n}": {"category": "shoes/low", "price": 50.0 + n} for n in range(6)}
        | {f"tea{n}": {"category": "food/tea", "price": 2.0 + n} for n in range(6)}
        | {"new1": {"category": "shoes/low", "price": 52.0}, "new2": {"category": "food/tea", "price": 3.0}}
        | {"sold out": {"category": "food/tea", "in_stock": False}}
    )
    extended = model.extended(shelf)
    assert set(extended.item_ids) == {*model.item_ids, "new1", "new2"}
    new1, new2 = extended.number["new1"], extended.number["new2"]
    for past, likely, unlikely in ((["shoe0", "shoe3"], new1, new2), (["tea1", "tea2"], new2, new1)):
        scores = extended.scores(past)
        assert scores[likely] > scores[unlikely] + 1
        np.testing.assert_allclose(np.exp(scores.astype(float)).sum(), 1.0, atol=1e-5)
    assert extended.extended(shelf) is extended, "nothing is left to be described"
    assert len(model.extended(shelf, most=1).item_ids) == len(model.item_ids) + 1


def test_what_is_alike_lies_close(two_shelves):
    model = SequenceModel.learn(two_shelves, SequenceConfig(**SMALL, min_count=1), 1)
    found = model.similar(["shoe1", "unheard of"], 5)
    assert {item[:4] for item, _ in found} == {"shoe"}
    assert [cosine for _, cosine in found] == sorted((cosine for _, cosine in found), reverse=True)
    assert model.similar(["unheard of"], 3) == []
