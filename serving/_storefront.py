"""The catalogue as a shop would show it: what can be sold online, in departments, under readable names."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.catalogue import Catalogue, inside

DEPARTMENTS = {
    "GROCERY": "Grocery",
    "PRODUCE": "Fruit and vegetables",
    "DRUG GM": "Home and health",
    "MEAT": "Meat",
    "MEAT-PCKGD": "Sausage and cold cuts",
    "DELI": "Delicatessen",
    "PASTRY": "Bakery",
    "NUTRITION": "Natural foods",
    "SEAFOOD": "Fresh fish",
    "SEAFOOD-PCKGD": "Frozen fish",
    "COSMETICS": "Beauty",
    "FLORAL": "Flowers",
    "SPIRITS": "Wine and spirits",
}
"""Complete Journey's departments; any other is shown under its own name."""
NOT_ONLINE = frozenset({
    "FUEL", "COUPON", "MISCELLANEOUS", "RESTAURANT", "AUTOMOTIVE", "TRAVEL & LEISURE", "CNTRL-STORE SUP",
    "CHARITABLE CONT", "PROD-WHS SALES", "POSTAL CENTER", "GM MERCH EXP", "PHOTO & VIDEO", "ELECT &PLUMBING",
    "DRUG GM/CIGARETTES",
})  # fmt: skip
"""Departments and categories nobody can put into a parcel."""
WORDS = {
    "sft": "soft", "drnk": "drink", "drnks": "drinks", "drnking": "drinking", "btl": "bottle",
    "sngl": "single", "srv": "serve", "frzn": "frozen", "refrgratd": "refrigerated", "pwdr": "powder",
    "crystl": "crystal",
    "mx": "mix", "mxs": "mixes", "bkd": "baked", "fd": "foods", "brkfst": "breakfast", "whlsm": "wholesome",
    "dsh": "dishes", "sald": "salad", "drsng": "dressing", "sndwch": "sandwich", "sprd": "spread",
    "cleang": "cleaning", "bg": "bags", "trsh": "trash", "tiss": "tissues", "dnr": "dinner",
    "sply": "supplies",
    "bn": "beans", "pnt": "peanut", "btr": "butter", "wtr": "water", "flvrd": "flavoured", "br": "bread",
    "pkld": "pickled", "sherbts": "sherbets", "prep": "prepared", "pkg": "pack", "incl": "", "carb": "",
    "misc": "various", "misc.": "various", "sw": "sweet", "gds": "bakes", "chs": "cheese", "swt": "sweet",
    "ckd": "cooked", "iws": "wrapped", "mainstream": "", "fluid": "", "only": "",
    "checklane": "at the till", "x": "extra", "orng": "orange", "choc": "chocolate", "whl": "whole",
}  # fmt: skip
NAMES = {
    "FLUID MILK WHITE ONLY": "White milk",
    "SOFT DRINKS 12/18&15PK CAN CAR": "Soft drinks, cans",
    "SFT DRNK 2 LITER BTL CARB INCL": "Soft drink, 2 litres",
    "PREP FD: SIDE DISHES (HOT)": "Hot side dishes",
}
"""What sells most and reads worst."""
SIZE = re.compile(r"\s+(\d[\d./-]*\s*(?:OZ|LB|CT|PK|QT|PT|GA|GAL|ML|LT|L|DZ|YD|SQ FT|FT|PC|EA|GM|KG))\b.*$")
DEPARTMENTS_SHOWN, CATEGORIES_SHOWN = 16, 12


@dataclass(frozen=True)
class Storefront:
    """Everything the demo shop sells, best selling first; made anew for a new catalogue."""

    catalogue: Catalogue
    rows: npt.NDArray[np.int64]
    """Rows of the catalogue that are sold online, by sales of the last 90 days."""
    not_online: tuple[str, ...]
    """Items that sell, but not online: not to be recommended here. A request takes 1,000."""
    departments: Sequence[Mapping[str, Any]]
    """Departments and their categories, both by sales, each with its name and its path."""

    @classmethod
    def of(cls, catalogue: Catalogue) -> "Storefront":
        """Sort out what can be shown: it has a price, was sold, and fits a parcel."""
        sold = np.nan_to_num(catalogue.statistics["sold_90d"], nan=0.0)
        order = np.argsort(-sold, kind="stable")
        offered = catalogue.in_stock & ~catalogue.hidden & (sold > 0)
        online = np.array(
            [
                not ({str(path).partition("/")[0], str(category)} & NOT_ONLINE)
                for path, category in zip(catalogue.paths, catalogue.categories, strict=True)
            ],
            dtype=np.bool_,
        )
        priced = np.nan_to_num(catalogue.prices, nan=0.0) >= 0.01
        away = [str(catalogue.item_ids[row]) for row in order if offered[row] and not (online[row])]
        rows = order[(offered & online & priced)[order]]
        return cls(catalogue, rows, tuple(away[:1000]), _departments(catalogue, rows))

    def products(self, item_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Return products by id, in order; an unknown one is left out."""
        known = (self.catalogue.index.get(item) for item in item_ids)
        return [self.product(row) for row in known if row is not None]

    def search(
        self, category: str | None, words: str, start: int, count: int
    ) -> tuple[list[dict[str, Any]], bool]:
        """Return a category's best sellers whose titles have all the words, and whether there are more."""
        wanted = words.upper().split()
        found: list[dict[str, Any]] = []
        skipped = 0
        for row in self.rows:
            path = str(self.catalogue.paths[row])
            if category and not inside(path, category):
                continue
            title = str(self.catalogue.titles[row] or "").upper()
            if not all(word in title for word in wanted):
                continue
            if skipped < start:
                skipped += 1
            elif len(found) == count:
                return found, True
            else:
                found.append(self.product(int(row)))
        return found, False

    def product(self, row: int) -> dict[str, Any]:
        """Return one product as the pages show it."""
        catalogue = self.catalogue
        path = str(catalogue.paths[row])
        department = path.partition("/")[0]
        name, size = name_and_size(str(catalogue.titles[row] or "Unnamed"))
        price = float(catalogue.prices[row])
        category = str(catalogue.categories[row])
        return {
            "item_id": str(catalogue.item_ids[row]),
            "name": name,
            "size": None if department == "PRODUCE" else size,  # there it is the wholesale case's
            "price": round(price, 2) if price == price else None,
            "category": category,
            "category_name": category_name(category),
            "department": department,
            "department_name": department_name(department),
        }


def _departments(catalogue: Catalogue, rows: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    sold: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for row in rows:
        category = str(catalogue.categories[row])
        if category:
            sold[category.partition("/")[0]][category] += float(catalogue.statistics["sold_90d"][row])
    best = sorted(sold, key=lambda department: -sum(sold[department].values()))[:DEPARTMENTS_SHOWN]
    found = []
    for department in best:
        below = sorted(sold[department], key=lambda category: -sold[department][category])
        shown = [{"path": path, "name": category_name(path)} for path in below if path != department]
        name = department_name(department)
        found.append({"path": department, "name": name, "categories": shown[:CATEGORIES_SHOWN]})
    return found


def department_name(department: str) -> str:
    """Return what customers call a department."""
    return DEPARTMENTS.get(department) or sentence(department)


def category_name(path: str) -> str:
    """Return what customers call a category: its last level."""
    return sentence(path.rpartition("/")[2].replace(" - ", ", ").replace("-", ", ").replace(":", ", "))


def name_and_size(title: str) -> tuple[str, str | None]:
    """Split a till's title into a readable name and a size: "MISC BAG SNACKS 4.5 OZ"."""
    found = SIZE.search(title)
    name = title[: found.start()] if found else title
    if name in NAMES:
        return NAMES[name], found.group(1).lower() if found else None
    for code, plain in (
        (r"\(BULK&BAG\)", ""),
        (r"\([^)]*$|\(\d+\)", ""),
        (r" W/", " with "),
        (r"[:*]", " "),
        ("&", " & "),
    ):
        name = re.sub(code, plain, name)
    return sentence(name), found.group(1).lower() if found else None


def sentence(text: str) -> str:
    """Return capitals as a sentence, the till's abbreviations written out."""
    words = (WORDS.get(word, word) for word in re.split(r"([\s,/-]+)", text.lower()))
    plain = re.sub(r"\s+", " ", "".join(words)).strip(" ,-/")
    return plain[:1].upper() + plain[1:]
