"""A small world every model can learn something in: the same for the same seed, drawn once."""

from functools import cached_property
from types import SimpleNamespace

import numpy as np
import pandas as pd

from models.candidates import BLOCK, Candidates
from models.catalogue import Catalogue
from models.messages import ChannelLog
from nextbest.columns import CONTACT_FEATURES, ITEM_STATISTICS

NOW = 1_700_000_000.0
DAY = 86_400.0
CHANNELS = ("email", "sms", "web_push")
TEXTS = (
    "recent_items", "viewed_items", "repeat_items", "category_names", "step_names", "step_categories",
)  # fmt: skip
NUMBERS = (
    "recent_times", "viewed_times", "repeat_30d", "repeat_90d", "repeat_365d", "repeat_count", "repeat_first",
    "repeat_last", "category_90d", "step_times",
)  # fmt: skip


def column(name):
    """Return the place of a channel's number; the model may prefix the names."""
    return next(place for place, known in enumerate(BLOCK) if known.endswith(name))


class World:
    """Contacts who stay or leave, twelve items bought in a circle, messages over three channels."""

    items = tuple(f"i{number:02d}" for number in range(12))

    @cached_property
    def contacts(self):
        """800 contacts: CONTACT_FEATURES; every tenth has no order."""
        random = np.random.default_rng(1)
        n = 800
        frame = pd.DataFrame(
            random.gamma(2.0, 2.0, (n, len(CONTACT_FEATURES))), columns=list(CONTACT_FEATURES)
        )
        gap = random.gamma(4.0, 5.0, n) + 1
        orders = 1.0 + random.poisson(4, n)
        frame["orders_total"] = np.where(np.arange(n) % 10 == 0, 0.0, orders)
        frame["order_gap_days"] = np.where(orders >= 2, gap, np.nan)
        frame["recency_days"] = random.exponential(gap)
        frame["recency_over_gap"] = frame["recency_days"] / frame["order_gap_days"]
        frame["tenure_days"] = gap * (orders - 1) + frame["recency_days"]
        frame["spend_total"] = orders * random.gamma(6.0, 4.0, n)
        frame["average_order"] = frame["spend_total"] / orders
        frame.loc[frame["orders_total"] == 0, ["order_gap_days", "recency_days", "recency_over_gap"]] = np.nan
        frame.index = pd.Index([f"c{number:03d}" for number in range(n)], name="contact_id")
        return frame

    @cached_property
    def left(self):
        """1 where the contact leaves: the likelier, the longer ago by its own cadence."""
        share = self.contacts["recency_over_gap"].fillna(1.0).to_numpy()
        chance = 1 / (1 + np.exp(-(share - 1.2) * 2))
        return (np.random.default_rng(2).random(len(share)) < chance).astype(float)

    @cached_property
    def purchases(self):
        """120 contacts, 12 orders each, one item an order: always the next of the circle."""
        rows = []
        for contact in range(120):
            for order in range(12):
                place = (contact + order) % len(self.items)
                rows.append(
                    (
                        f"c{contact:03d}",
                        f"o{contact:03d}-{order}",
                        self.items[place],
                        NOW - (400 - order) * DAY,
                    )
                )
        return pd.DataFrame(rows, columns=["contact_id", "order_id", "item_id", "time"])

    @cached_property
    def baskets(self):
        """Orders with their items: neighbours of the circle lie together, one item in all of them alone."""
        rows = []
        for number in range(360):
            place = number % len(self.items)
            rows += [
                (f"o{number}", self.items[place]),
                (f"o{number}", self.items[(place + 1) % len(self.items)]),
            ]
        return pd.DataFrame(rows, columns=["order_id", "item_id"])

    @cached_property
    def catalogue(self):
        """The twelve items; the earlier in the alphabet, the more sold."""
        n = len(self.items)
        frame = pd.DataFrame({"item_id": self.items, "title": [f"Item {item}" for item in self.items]})
        frame["category"] = [f"shop/{place % 3}/x" for place in range(n)]
        frame = frame.assign(brand=None, price=np.arange(1.0, n + 1), in_stock=True, hidden=False)
        frame = frame.assign(repeatable=np.nan, image_url=None, url=None)
        for name in ITEM_STATISTICS:
            frame[name] = np.arange(n, 0, -1.0)
        frame["repurchase_rate"] = 0.5
        frame["cadence_days"] = 20.0
        frame["first_sold"], frame["last_sold"] = NOW - 400 * DAY, NOW - DAY
        return Catalogue.from_frame(frame, NOW)

    def shopper(self, bought=(), viewed=(), contact_id="c", steps=()):
        """Someone who bought these items, newest first, a day apart, and took these steps since."""
        bought, viewed = list(bought), list(viewed)
        times = NOW - DAY * np.arange(1.0, len(bought) + 1)
        own = list(dict.fromkeys(bought))
        known = [item for item in own if item in self.items]
        categories = list(dict.fromkeys(f"shop/{self.items.index(item) % 3}" for item in known))
        blocks = dict.fromkeys(TEXTS, ()) | {name: np.empty(0) for name in NUMBERS}
        blocks |= {"recent_items": bought, "recent_times": times}
        blocks |= {"viewed_items": viewed, "viewed_times": NOW - 60.0 * np.arange(1.0, len(viewed) + 1)}
        blocks |= {"step_names": [name for name, _ in steps], "step_categories": [c for _, c in steps]}
        blocks |= {"step_times": NOW - 60.0 * np.arange(1.0, len(steps) + 1)}
        blocks |= {"category_names": categories, "category_90d": np.arange(len(categories), 0, -1.0)}
        falling = np.arange(len(own), 0, -1.0)
        first = np.array([times[len(bought) - 1 - bought[::-1].index(item)] for item in own])
        last = np.array([times[bought.index(item)] for item in own])
        blocks |= {"repeat_items": own, "repeat_count": np.array([float(bought.count(item)) for item in own])}
        blocks |= {f"repeat_{days}d": falling for days in (30, 90, 365)}
        blocks |= {"repeat_first": first, "repeat_last": last}
        features = {"orders_total": float(len(bought)), "recency_days": 1.0} if bought else {}
        return SimpleNamespace(contact_id=contact_id, now=NOW, features=features, **blocks)

    @cached_property
    def messages(self):
        """2,000 messages: half the contacts answer e-mail, the other half SMS, told apart by orders_30d."""
        random = np.random.default_rng(3)
        n = 2000
        likes_sms = np.arange(n) % 2 == 1
        contacts = self.contacts.iloc[random.integers(0, len(self.contacts), n)].reset_index(drop=True)
        contacts = contacts.assign(
            orders_30d=np.where(likes_sms, 9.0, 0.0), contact_id=[f"m{i}" for i in range(n)]
        )
        blocks = np.zeros((n, len(CHANNELS), len(BLOCK)))
        blocks[:, :, -2:] = np.nan
        sent = random.integers(0, len(CHANNELS), n)
        chance = np.where(sent == 2, 0.05, np.where((sent == 1) == likes_sms, 0.5, 0.1))
        responses = (random.random(n) < chance).astype(float)
        return ChannelLog(Candidates(contacts, CHANNELS, blocks), sent, responses, np.full(n, 1 / 3))

    @cached_property
    def candidates(self):
        """Rows for `rank`: 40 contacts with some history over each channel, one without any."""
        random = np.random.default_rng(4)
        contacts = self.contacts.head(40).reset_index()
        blocks = np.zeros((40, len(CHANNELS), len(BLOCK)))
        sent = random.integers(0, 12, (40, len(CHANNELS))).astype(float)
        opened = np.floor(sent * random.random((40, len(CHANNELS))))
        for name in ("sent_7d", "sent_90d", "sent_total"):
            blocks[:, :, column(name)] = sent
        for name in ("opened_90d", "opened_total"):
            blocks[:, :, column(name)] = opened
        blocks[:, :, column("days_since_sent")] = np.where(sent > 0, 5.0, np.nan)
        blocks[:, :, column("days_since_response")] = np.where(opened > 0, 6.0, np.nan)
        blocks[0, :, :-2] = 0.0
        blocks[0, :, -2:] = np.nan
        return Candidates(contacts, CHANNELS, blocks).to_long()
