import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models import nearest
from models.nearest import Nearest
from models.sequence import SequenceConfig, SequenceModel
from nextbest.errors import ArtifactError, BadInput

MANY, WIDTH = 12_000, 16


def simulated(items):
    """Return simulated embeddings in clusters, of different lengths."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(40, WIDTH))
    rows = centres[random.integers(0, 40, items)] + 0.8 * random.normal(size=(items, WIDTH))
    return (rows * random.uniform(0.5, 1.5, (items, 1))).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def graph_for_few_items():
    """Let the graph be asked where scoring all would be as cheap: for as few items as tests can afford."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "MOST_FETCHED", 0.02)
        yield


@pytest.fixture(scope="module")
def rows():
    return simulated(MANY + 50)[:MANY]


@pytest.fixture(scope="module")
def exact(rows):
    return Nearest.over(rows)


@pytest.fixture(scope="module")
def graph(rows):
    found = Nearest.over(rows, exact_up_to=1_000)
    assert not found.is_exact
    return found


@pytest.fixture(scope="module")
def queries():
    """Return 50 of the same clusters that are none of the items."""
    return simulated(MANY + 50)[MANY:]


def best(rows, query, k, allowed=None):
    """The definition: sort all by score, then by number."""
    scores = np.einsum("ic,c->i", rows, query)
    order = np.lexsort((np.arange(len(rows)), -scores))
    order = order if allowed is None else order[allowed[order]]
    return order[:k], scores[order[:k]]


@settings(deadline=None, max_examples=60)
@given(
    arrays(np.float32, (30, 5), elements=st.floats(-4, 4, width=16)),
    arrays(np.float32, 5, elements=st.floats(-4, 4, width=16)),
    arrays(np.bool_, 30),
    st.integers(1, 40),
)
def test_few_items_are_searched_exactly_bit_by_bit(rows, query, allowed, k):
    for mask in (None, allowed):
        numbers, scores = Nearest.over(rows).search(query, k, mask)
        wanted_numbers, wanted_scores = best(rows, query, k, mask)
        np.testing.assert_array_equal(numbers, wanted_numbers)
        np.testing.assert_array_equal(scores, wanted_scores)


def test_the_graph_finds_what_it_says_it_does(graph, rows, queries):
    assert 0.95 <= graph.recall <= 1.0
    found = [np.intersect1d(graph.search(q, 50)[0], best(rows, q, 50)[0]).size / 50 for q in queries]
    assert np.mean(found) >= 0.95


def test_scores_of_the_graph_are_exact_and_fall(graph, rows, queries):
    for query in queries:
        numbers, scores = graph.search(query, 20)
        np.testing.assert_array_equal(scores, np.einsum("ic,c->i", rows, query)[numbers])
        assert (np.diff(scores) <= 0).all()
        assert len(set(numbers.tolist())) == 20


def test_the_longest_wins_an_inner_product_not_the_nearest_angle(rows):
    longest = np.vstack([rows, 3 * rows[:1]])
    found = Nearest.over(longest, exact_up_to=1_000)
    assert found.search(rows[0], 5)[0][0] == MANY


def test_a_bias_is_one_more_column(rows):
    biased = np.column_stack([rows, np.linspace(-3, 3, MANY)]).astype(np.float32)
    found = Nearest.over(biased, exact_up_to=1_000)
    query = np.append(rows[5], np.float32(1))
    assert np.intersect1d(found.search(query, 20)[0], best(biased, query, 20)[0]).size >= 19


@pytest.mark.parametrize("share", [0.9, 0.3, 0.02, 0.0005])
def test_only_the_allowed_are_found_and_k_of_them(graph, rows, queries, share):
    allowed = np.random.default_rng(3).uniform(size=MANY) < share
    recall = []
    for query in queries:
        numbers, _ = graph.search(query, 10, allowed)
        assert allowed[numbers].all()
        assert len(numbers) == min(10, np.count_nonzero(allowed))
        recall.append(np.isin(best(rows, query, 10, allowed)[0], numbers).mean())
    assert np.mean(recall) >= 0.95


def test_where_all_that_is_near_is_hidden_the_next_best_are_found(graph, rows, queries):
    for query in queries[:10]:
        allowed = np.ones(MANY, dtype=bool)
        allowed[best(rows, query, 500)[0]] = False
        np.testing.assert_array_equal(
            graph.search(query, 10, allowed)[0], best(rows, query, 10, allowed)[0]
        )  # more than the graph would bring: all are scored


def test_nothing_allowed_finds_nothing(graph, exact, queries):
    for search in (graph, exact):
        numbers, scores = search.search(queries[0], 5, np.zeros(MANY, dtype=bool))
        assert len(numbers) == len(scores) == 0


def test_newcomers_are_found_at_once(graph, rows, queries):
    more = graph.with_more((3 * queries).astype(np.float32))
    assert len(more) == MANY + len(queries)
    assert not more.is_exact
    for number, query in enumerate(queries):
        numbers, scores = more.search(query, 5)
        assert numbers[0] == best(more.embeddings, query, 1)[0][0]
        assert (np.diff(scores) <= 0).all()
        allowed = np.ones(len(more), dtype=bool)
        allowed[MANY + number] = False
        assert MANY + number not in more.search(query, 5, allowed)[0]
    assert len(graph) == MANY, "the one it was made of is as it was"


def test_what_is_saved_answers_the_same(graph, exact, rows, queries, tmp_path):
    graph.save(tmp_path)
    again = Nearest.load(tmp_path, rows)
    assert again.recall == graph.recall
    for query in queries:
        for one, other in zip(again.search(query, 50), graph.search(query, 50), strict=True):
            np.testing.assert_array_equal(one, other)
    with pytest.raises(ArtifactError, match="train it again"):
        Nearest.load(tmp_path, rows[:100])
    with pytest.raises(ArtifactError, match="train it again"):
        Nearest.load(tmp_path, rows[:, :8])


def test_an_exact_search_leaves_no_files(exact, rows, tmp_path):
    exact.save(tmp_path)
    assert not list(tmp_path.iterdir())
    assert Nearest.load(tmp_path, rows).is_exact


def test_the_same_embeddings_give_the_same_graph(graph, rows, queries):
    again = Nearest.over(rows, exact_up_to=1_000)
    assert again.recall == graph.recall
    for query in queries:
        np.testing.assert_array_equal(again.search(query, 50)[0], graph.search(query, 50)[0])


def test_many_threads_get_the_answers_of_one(graph, queries):
    alone = [graph.search(query, 20)[0] for query in queries]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda n: graph.search(queries[n % 50], 20)[0], range(400)))
    for number, found in enumerate(together):
        np.testing.assert_array_equal(found, alone[number % 50])


def test_a_graph_that_finds_too_little_is_not_used(rows, queries, monkeypatch, caplog):
    monkeypatch.setattr(nearest, "CONNECTIVITY", 2)
    monkeypatch.setattr(nearest, "BUILDING", 2)
    monkeypatch.setattr(nearest, "EXPANSIONS", (1,))
    with caplog.at_level(logging.WARNING):
        found = Nearest.over(rows, exact_up_to=1_000)
    assert found.is_exact
    assert found.recall == 1.0
    assert "all are scored instead" in caplog.text
    np.testing.assert_array_equal(found.search(queries[0], 9)[0], best(rows, queries[0], 9)[0])


def test_equal_and_empty_embeddings_do_no_harm():
    for rows in (np.zeros((2_000, 4), np.float32), np.ones((2_000, 4), np.float32)):
        numbers, scores = Nearest.over(rows, exact_up_to=100).search(np.ones(4, np.float32), 3)
        assert len(set(numbers.tolist())) == 3
        assert (scores == rows[0].sum()).all()
    assert Nearest.over(np.ones((1, 4), np.float32), exact_up_to=0).is_exact
    assert len(Nearest.over(np.empty((0, 4), np.float32)).search(np.ones(4, np.float32), 3)[0]) == 0


def test_what_does_not_fit_is_named(exact):
    query = np.ones(WIDTH, np.float32)
    with pytest.raises(BadInput, match=r"query has the shape \(3,\); it must be \(16,\)"):
        exact.search(query[:3], 5)
    with pytest.raises(BadInput, match=r"allowed has the shape \(2,\)"):
        exact.search(query, 5, np.ones(2, dtype=bool))
    with pytest.raises(BadInput, match="k is 0"):
        exact.search(query, 0)
    with pytest.raises(BadInput, match="embeddings have the shape"):
        Nearest.over(query)
    with pytest.raises(BadInput, match="not finite"):
        Nearest.over(np.full((3, 2), np.nan, np.float32), exact_up_to=2)


def test_a_sequence_model_of_many_items_finds_what_is_similar_by_the_graph(rows, tmp_path):
    items, config = [f"i{number}" for number in range(MANY)], SequenceConfig(width=WIDTH)
    few, many = tmp_path / "few", tmp_path / "many"
    exact = SequenceModel(config, items, {"items.weight": rows}, 1)
    by_graph = Nearest.over(exact.nearest.embeddings, exact_up_to=1_000)
    for folder, search in ((few, None), (many, by_graph)):
        folder.mkdir()
        SequenceModel(config, items, {"items.weight": rows}, 1, nearest=search).save(folder)
    assert not list(few.glob("nearest*"))
    loaded = SequenceModel.load(many)
    assert not loaded.nearest.is_exact
    for asked in (["i3"], ["i3", "i4"]):
        found = loaded.similar(asked, 20)
        assert len(set(found) & set(exact.similar(asked, 20))) >= 18, "the same items, the same cosines"
        assert not set(asked) & {item for item, _ in found}
        assert SequenceModel.load(few).similar(asked, 20) == exact.similar(asked, 20)
