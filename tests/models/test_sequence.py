import numpy as np
import pandas as pd
import pytest

from models.sequence import SequenceConfig, SequenceModel, top, vocabulary
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
