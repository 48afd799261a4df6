"""Reacting to views: `python -m benchmarks.visitors --data HOME [--orders N] [--seed N] [--json OUT]`.

The data of a shop without a website hold no views. Three items of an order after the champions' cut stand for
what was looked at just before it, and the rest of the order is what the home page should hold: once for a
visitor nobody knows, once for the contact with all history up to the cut. A stand-in: real views are not
all followed by purchases, and more of them are of one kind. Compared are the service's own answers, with the
views fused in and with the ranker left alone. HOME is a trained state folder; it is only read.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import _report as report
from features.events.lake import Lake
from features.items import items_at
from features.snapshots import views_at
from features.state import ContactState, ContactView
from nextbest.settings import Settings
from serving.book import ContactBook
from serving.budget import Budget
from serving.champions import Champions
from serving.parts import Parts
from serving.people import People
from serving.recommend import RecommendationLadder
from serving.schemas import RecommendationsRequest
from serving.shelf import Shelf
from training.metrics import ndcg_at_k, recall_at_k

CUT = datetime(2017, 12, 3, tzinfo=UTC)
"""Up to which the champions learn in a training as of 2018-01-02."""
SEEN = 3
LEAST = 6
"""Items of an order, at least, for there to be enough left to want."""
COLUMNS = ("ndcg@10", "recall@10", "reacting")


@dataclass(frozen=True)
class Question:
    """Somebody who has looked at items, and what the order then held besides."""

    view: ContactView
    seen: list[str]
    wanted: list[str]


class Seen:
    """Whoever is asked about is the one set; stands in for features.live.LiveContacts."""

    def __init__(self) -> None:
        self.view = ContactState.empty(None).at(0.0)

    def get(self, contact_ids: Sequence[str], now: float, stored: bool = True) -> list[ContactView]:
        """Return the one."""
        del now, stored
        return [self.view for _ in contact_ids]

    def visitors(self, anonymous_ids: Sequence[str], now: float) -> list[ContactView]:
        """Return the one."""
        del now
        return [self.view for _ in anonymous_ids]


def main() -> None:
    """Measure, print, write."""
    parser = report.options((__doc__ or "").splitlines()[0], "a trained state folder (NEXTBEST_HOME)")
    parser.add_argument("--orders", type=int, default=600, help="orders looked at")
    asked = parser.parse_args()
    settings = Settings(home=Path(asked.data), now=CUT, budget_ms=60_000.0)
    random = np.random.default_rng(asked.seed)
    wanted = orders(settings, CUT, asked.orders, random)
    rows: dict[str, dict[str, float]] = {}
    with closing(Champions(settings)) as champions:
        champions.start()
        ranker = champions.get("next-purchase")
        for who in ("visitor", "contact"):
            questions = asked_by(settings, who, wanted, random)
            answers = {}
            for name, left_alone in (("ranker alone", True), ("views fused in", False)):
                if ranker is not None:
                    ranker.model.knows_views = left_alone
                answers[name] = answered(settings, champions, questions)
            alone = answers["ranker alone"]
            rows |= {f"{who}, {name}": scored(questions, found, alone) for name, found in answers.items()}
    report.show(rows, COLUMNS)
    report.write(asked.json, rows, {}, str(asked.data), [asked.seed], orders=len(wanted))


def orders(
    settings: Settings, cut: datetime, most: int, random: np.random.Generator
) -> list[tuple[str, list[str]]]:
    """Return (contact, items) of each contact's first order after the cut that is long enough."""
    events = Lake(settings.lake).events(since=cut)
    lines = events.filter(events.event == "order_completed").order_by("timestamp", "event_id")
    frame: pd.DataFrame = lines.select("contact_id", "order_id", "item_id").execute()
    known = set(items_at(settings, cut)["item_id"].astype(str))
    found: dict[str, list[str]] = {}
    for (contact, _), order in frame.groupby(["contact_id", "order_id"], sort=False):
        items = [item for item in dict.fromkeys(order["item_id"]) if item in known]
        if len(items) >= LEAST:
            found.setdefault(str(contact), items)
    contacts = sorted(found)
    random.shuffle(contacts)
    return [(contact, found[contact]) for contact in contacts[:most]]


def asked_by(
    settings: Settings, who: str, wanted: Sequence[tuple[str, list[str]]], random: np.random.Generator
) -> list[Question]:
    """Return the questions: of contacts with their history, or of visitors without any."""
    ids = [contact for contact, _ in wanted]
    views = (
        views_at(settings, CUT, ids)
        if who == "contact"
        else [replace(ContactState.empty(None), timestamp=CUT.timestamp()).at(CUT.timestamp()) for _ in ids]
    )
    questions = []
    for view, (_, items) in zip(views, wanted, strict=True):
        order = [items[place] for place in random.permutation(len(items))]
        times = view.now - 60.0 * np.arange(1.0, SEEN + 1.0)
        looking = replace(view, viewed_items=order[:SEEN], viewed_times=times)
        questions.append(Question(looking, order[:SEEN], order[SEEN:]))
    return questions


def answered(settings: Settings, champions: Champions, questions: Sequence[Question]) -> list[list[str]]:
    """Return the home page of each, as the service answers."""
    seen = Seen()
    shelf = Shelf(lambda now: (items_at(settings, now), len(questions)))
    shelf.refresh(CUT)
    nothing: Callable[..., Any] = pd.DataFrame
    book = ContactBook(nothing, nothing, nothing, nothing)
    with closing(Budget()) as budget:
        parts = Parts(settings, People(seen), shelf, champions, budget, book, lambda _: None)
        ladder, pages = RecommendationLadder(parts), []
        for question in questions:
            seen.view = question.view
            asked = RecommendationsRequest(anonymous_id="somebody", exclude_ids=question.seen)
            pages.append([item.item_id for item in ladder.answer(asked, CUT).items])
    return pages


def scored(
    questions: Sequence[Question], pages: Sequence[Sequence[str]], alone: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Return the metrics, and how many of a page's items the ranker alone would not have shown."""
    wanted = [question.wanted for question in questions]
    return {
        "ndcg@10": float(np.mean(ndcg_at_k(pages, wanted, 10))),
        "recall@10": float(np.mean(recall_at_k(pages, wanted, 10))),
        "reacting": float(
            np.mean([len(set(page) - set(before)) for page, before in zip(pages, alone, strict=True)])
        ),
    }


if __name__ == "__main__":
    main()
