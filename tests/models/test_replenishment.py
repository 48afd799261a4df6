"""Which categories are bought by nature, and when they are bought again, where both are known beforehand."""

import numpy as np
import pandas as pd
import pytest

from models._gaps import Days, log_normal, regularity
from models.replenishment import HORIZONS, Replenishment, ReplenishmentConfig, natural
from nextbest.errors import NotReady

START, LENGTH = 20_000, 300
UNTIL = (START + LENGTH) * 86_400.0


def shop(contacts=150, seed=1, length=LENGTH):
    """Trips on half of all days; soap regularly, sweets by chance, bread on every trip, melons in summer."""
    random = np.random.default_rng(seed)
    rows = []
    for contact in range(contacts):
        trips = START + np.flatnonzero(random.random(length) < 0.5)
        usual = float(random.choice([10.0, 30.0]))
        due = START + random.uniform(0, usual)
        for day in trips:
            name = f"c{contact:03d}"
            rows.append((name, "food/bread", day))
            if day >= due:
                rows.append((name, "home/soap", day))
                due = day + usual * random.uniform(0.8, 1.2)
            if random.random() < 0.2:
                rows.append((name, "food/sweets", day))
            if 150 <= day - START < 190 and random.random() < 0.3:
                rows.append((name, "food/melons", day))
    return frame_of(rows)


def frame_of(rows):
    frame = pd.DataFrame(rows, columns=["contact_id", "category", "day"])
    frame = frame.sort_values(["contact_id", "category", "day"], ignore_index=True)
    return frame.astype({"contact_id": "category", "category": "category"})


@pytest.fixture(scope="module")
def model():
    return Replenishment.learn(shop(), UNTIL)


def asked(**values):
    return pd.DataFrame({"category": "home/soap", "purchases": 6.0, "days_since": 3.0, **values}, index=[0])


def test_only_what_is_bought_by_nature_is_natural():
    table = natural(Days.of(shop()), ReplenishmentConfig()).set_index("category")
    assert table["natural"].to_dict() == {
        "food/bread": False, "food/melons": False, "food/sweets": False, "home/soap": True,
    }  # fmt: skip
    assert table.loc["home/soap", "regularity"] < 0.3
    assert table.loc["food/bread", "share_of_trips"] == 1
    assert np.isnan(table.loc["food/bread", "regularity"]), "on every trip there is nothing to be regular"


@pytest.mark.parametrize("chance", [0.03, 0.1, 0.5, 0.9])
def test_what_is_bought_by_chance_has_regularity_one_however_often(chance):
    random = np.random.default_rng(5)
    rows = []
    for contact in range(500):
        days = np.flatnonzero(random.random(120) < 0.6)
        rows += [(f"c{contact}", "trip", day) for day in days]
        rows += [(f"c{contact}", "k", day) for day in days[random.random(len(days)) < chance]]
    found = regularity(Days.of(frame_of(rows))).set_index("category").loc["k"]
    error = (found["regularity_high"] - found["regularity"]) / 1.96
    assert abs(found["regularity"] - 1) < 3 * error + 0.005
    assert error < 0.15


def test_gaps_are_a_hierarchy():
    random = np.random.default_rng(2)
    rows = []
    for contact in range(400):
        own, day = random.normal(np.log(40), 0.5), 0.0
        for _ in range(12):
            rows.append((f"c{contact}", "k", round(day)))
            day += max(np.exp(random.normal(own, 0.3)), 1.0)
    law = log_normal(Days.of(frame_of(rows)))
    assert law.mean[0] == pytest.approx(np.log(40), abs=0.08)
    assert law.between[0] == pytest.approx(0.25, rel=0.2)
    assert law.within[0] == pytest.approx(0.09, rel=0.15)


def test_a_contacts_own_gaps_outweigh_the_category_the_more_there_are(model):
    none = model.score(asked(purchases=1.0, log_gaps=0.0))["usual_days"].iloc[0]
    few = model.score(asked(purchases=2.0, log_gaps=np.log(30.0)))["usual_days"].iloc[0]
    many = model.score(asked(purchases=11.0, log_gaps=10 * np.log(30.0)))["usual_days"].iloc[0]
    assert none < few < many
    assert many == pytest.approx(30, rel=0.05)


def test_time_passed_is_taken_into_account(model):
    since = pd.Series([0.0, 2.0, 5.0, 9.0, 12.0, 20.0, 60.0, 500.0])
    frame = pd.DataFrame(
        {"category": "home/soap", "purchases": 8.0, "log_gaps": 7 * np.log(10.0), "days_since": since}
    )
    scores = model.score(frame)
    assert (scores["low_days"] <= scores["due_days"]).all()
    assert (scores["due_days"] <= scores["high_days"]).all()
    assert (scores[["due_days", "low_days"]] >= 0).all().all()
    assert (np.diff(scores["due_days"] + since) >= -1e-6).all(), "the date never moves to the past"
    chances = scores[[f"probability_{days}d" for days in HORIZONS]].to_numpy()
    assert ((chances >= 0) & (chances <= 1)).all()
    assert (np.diff(chances, axis=1) >= 0).all()
    assert scores["due_days"].iloc[0] == pytest.approx(11, abs=2)
    assert chances[3, 0] > chances[0, 0], "what is due comes sooner than what was just bought"


def test_dates_and_chances_come_true():
    before = shop(seed=8, length=LENGTH + 60)
    past = before[before["day"] < START + LENGTH].reset_index(drop=True)
    model = Replenishment.learn(past, UNTIL)
    soap = before[before["category"] == "home/soap"]
    held = soap[soap["day"] < START + LENGTH].groupby("contact_id", observed=True)["day"]
    gaps = held.apply(lambda days: np.log(np.diff(days)).sum())
    frame = pd.DataFrame({"purchases": held.size().astype(float), "log_gaps": gaps, "category": "home/soap"})
    frame["days_since"] = START + LENGTH - held.max()
    later = soap[soap["day"] >= START + LENGTH].groupby("contact_id", observed=True)["day"].min()
    came = (later - START - LENGTH).reindex(frame.index).fillna(np.inf)
    scores = model.score(frame)
    inside = came.between(scores["low_days"] - 1, scores["high_days"] + 1).mean()
    assert 0.7 < inside < 0.98  # days are whole, gaps short
    assert scores["probability_14d"].mean() == pytest.approx((came <= 14).mean(), abs=0.06)
    assert (scores["due_days"] - came).abs().median() < 3


def test_what_is_not_natural_or_unknown_gets_no_answer(model):
    frame = pd.concat([asked(), asked(category="food/bread"), asked(category="?"), asked(purchases=0.0)])
    scores = model.score(frame)
    assert scores["source"].tolist() == ["replenishment", *["not_enough_data"] * 3]
    assert scores.iloc[1:].drop(columns="source").isna().all().all()


def test_without_regular_categories_it_is_not_ready():
    bread = shop()
    bread = bread[bread["category"] == "food/bread"].reset_index(drop=True)
    for frame in (bread, bread.head(0)):
        with pytest.raises(NotReady, match="no category is bought again by nature"):
            Replenishment.learn(frame, UNTIL)
