"""Who is who: the same whatever the order links come in, and nobody's history opened to another."""

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from features.events._identity import NEVER, Graph, Link, Person, around

IDS = st.sampled_from("abcdvw")
SAID = st.tuples(IDS, IDS, st.integers(1, 5), st.booleans())


def graph(*said: tuple[str, str, int, bool]) -> Graph:
    return Graph(Link(*each, position) for position, each in enumerate(said))


def claim(anonymous: str, contact: str, at: int) -> tuple[str, str, int, bool]:
    return anonymous, contact, at, False


def alias(earlier: str, contact: str, at: int) -> tuple[str, str, int, bool]:
    return earlier, contact, at, True


def test_of_two_claims_of_one_moment_neither_gets_what_came_before() -> None:
    shared = graph(claim("phone", "zoe", 5), claim("phone", "ann", 5), claim("phone", "bob", 6))
    assert {who: dict(shared.person(who).visitors) for who in ("zoe", "ann", "bob")} == {
        "zoe": {}, "ann": {"phone": NEVER}, "bob": {},
    }  # fmt: skip


def test_a_chain_is_one_person() -> None:
    found = graph(alias("b", "c", 1), alias("a", "b", 2), claim("v", "a", 3))
    assert (
        found.person("a")
        == found.person("c")
        == Person("c", frozenset("abc"), {"v": None, "a": None, "b": None})
    )


def test_an_identified_anonymous_id_does_not_merge_the_contact_of_that_name() -> None:
    found = graph(claim("bob", "eve", 1))
    assert found.person("eve").members == {"eve"}
    assert found.person("bob") == Person("bob", frozenset({"bob"}), {})


def test_of_a_shared_device_the_first_owns_what_came_before_and_nobody_the_rest() -> None:
    found = graph(claim("v", "b", 5), claim("v", "a", 3), claim("v", "a", 9))
    assert found.owner("v") == ("a", 3)
    assert found.person("b").visitors == {}
    assert graph(claim("v", "b", 5), claim("v", "a", 3), alias("a", "b", 7)).owner("v") == ("b", None)


def test_an_alias_of_a_shared_device_does_not_merge_its_people() -> None:
    found = graph(alias("v", "a", 1), alias("v", "b", 2))
    assert (found.canonical("a"), found.canonical("b")) == ("a", "b")


def test_a_circle_ends_where_its_latest_alias_begins() -> None:
    found = graph(alias("a", "b", 1), alias("b", "c", 2), alias("c", "a", 3))
    assert {found.canonical(each) for each in "abc"} == {"c"}


def test_erasing_takes_what_may_be_theirs_of_a_shared_device() -> None:
    found = graph(claim("v", "a", 3), claim("v", "b", 5), claim("w", "b", 1), alias("old", "b", 1))
    assert found.scope(["b"]).members == found.scope(["old"]).members == {"b", "old"}
    assert found.scope(["b"]).visits == {"v": 3, "w": None, "old": None}
    assert found.scope(["a"]).visits == {"v": None}


@given(said=st.lists(SAID, max_size=8), seed=st.integers(0, 9))
def test_the_order_and_repetition_of_links_change_nothing(
    said: list[tuple[str, str, int, bool]], seed: int
) -> None:
    shuffled = said + said[: seed % 3]
    random.Random(seed).shuffle(shuffled)
    for contact in "abcdvw":
        person = graph(*said).person(contact)
        assert person == graph(*shuffled).person(contact)
        assert contact in person.members
        assert all(graph(*said).canonical(member) == person.contact_id for member in person.members)


@given(said=st.lists(SAID, max_size=8), asked=IDS)
def test_what_is_fetched_around_an_id_tells_as_much_as_everything(
    said: list[tuple[str, str, int, bool]], asked: str
) -> None:
    links = [Link(*each, position) for position, each in enumerate(said)]

    def touching(anonymous: Sequence[str], contacts: Sequence[str]) -> list[Link]:
        return [link for link in links if link.anonymous_id in anonymous or link.contact_id in contacts]

    assert Graph(around([asked], touching)).person(asked) == Graph(links).person(asked)
    assert Graph(around([], touching, [asked])).owner(asked) == Graph(links).owner(asked)
