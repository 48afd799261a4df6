"""What the demo shop's pages are told, and what they ask."""

from typing import Annotated

from pydantic import Field

from serving.card_schemas import ContactCard
from serving.schemas import Answer, Id, Request


class Product(Answer):
    """A product as the pages show it."""

    item_id: str
    name: str
    size: str | None
    price: float | None
    category: str
    category_name: str
    department: str
    department_name: str


class Products(Answer):
    """Products, and whether there are more."""

    products: list[Product]
    more: bool = False


class Offered(Answer):
    """A contact one may log in as."""

    contact_id: str
    segment: str | None
    stage: str
    orders: float
    categories: list[str]


class Category(Answer):
    """A part of a department."""

    path: str
    name: str


class Department(Category):
    """A department and its categories, best selling first."""

    categories: list[Category]


class DemoShop(Answer):
    """What the shop's pages need to begin with."""

    write_key: str
    departments: list[Department]
    not_online: list[str]


class Contacts(Answer):
    """The contacts one may log in as."""

    contacts: list[Offered]


class LogInRequest(Request):
    """Who to log in as."""

    contact_id: Id


class LoggedIn(Answer):
    """A contact, and the token that proves it; null where the service has no keys."""

    contact_id: str
    identity_token: str | None


class PanelRequest(Request):
    """Whom to look at."""

    contact_id: Id | None = None
    anonymous_id: Id | None = None
    identity_token: Annotated[str, Field(max_length=400)] | None = None


class Happened(Answer):
    """An event of the log."""

    event: str
    item: str | None
    item_id: str | None
    seconds_ago: float


class CategoryShare(Answer):
    """A category somebody looks at or buys in."""

    path: str
    name: str
    share: float


class Panel(Answer):
    """What the service knows of a visitor or contact this moment."""

    known_as: str
    """contact, visitor or nobody."""
    card: ContactCard | None
    categories: list[CategoryShare]
    events: list[Happened]
    events_total: int
