"""One Settings object: NEXTBEST_* variables and nextbest.toml, nothing global."""

import json
from base64 import b64decode
from datetime import UTC, datetime
from hashlib import sha256
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)


class ChannelSettings(BaseModel):
    """What sending one message over a channel costs and when it may be sent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cost: float = Field(0.0, ge=0)
    """Money a message, in the currency of the orders."""
    quiet_from: int = Field(21, ge=0, le=23)
    """Local hour from which nothing is sent."""
    quiet_to: int = Field(8, ge=0, le=23)
    """Local hour at which sending starts again; equal to quiet_from: no quiet hours."""
    weekly_cap: int = Field(3, ge=0)
    """Messages a contact gets over this channel in seven days at most."""


def _web_address(text: str) -> str:
    parts = urlsplit(text.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("this is no web address; write https://host/path")
    return text.strip()


def _signing_key(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    try:
        key = b64decode(text.removeprefix("whsec_"), validate=True) if text.startswith("whsec_") else text
    except ValueError:
        key = b""
    if not key:
        raise ValueError("a secret is whsec_ and base64 of 24 to 64 random bytes, or a text taken as it is")
    return secret


WebAddress = Annotated[str, AfterValidator(_web_address)]
SigningKey = Annotated[SecretStr, AfterValidator(_signing_key)]


class Webhook(BaseModel):
    """Where events of triggers are sent, and what they are signed with (standardwebhooks.com)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: WebAddress
    secret: SigningKey

    @property
    def key(self) -> str:
        """Return what names the endpoint where its address, which may hold a password, must not be."""
        return sha256(self.url.encode()).hexdigest()[:16]


def _aware(value: object) -> object:
    """Take a moment without a time zone for UTC, as --now does."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return value
    return moment.replace(tzinfo=UTC) if isinstance(moment, datetime) and moment.tzinfo is None else moment


def _listed(value: Any) -> Any:
    """Read "a, b" as well as a JSON list."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    return (
        json.loads(text)
        if text.startswith("[")
        else [part.strip() for part in text.split(",") if part.strip()]
    )


def _origin(text: str) -> str:
    text = text.strip().rstrip("/").lower()
    parts = urlsplit(text)
    if text not in ("*", "null") and (not parts.scheme or not parts.netloc or parts.path or parts.query):
        raise ValueError(f"'{text}' is no origin; write https://shop.example, or * for any")
    return text


def _network(text: str) -> str:
    try:
        return str(ip_network(text.strip()))
    except ValueError:
        raise ValueError(f"'{text}' is no address or network; write 10.0.0.1 or 10.0.0.0/8") from None


Origin = Annotated[str, AfterValidator(_origin)]
Network = Annotated[str, AfterValidator(_network)]

DEFAULT_CHANNELS = {
    "email": ChannelSettings(cost=0.001, weekly_cap=3),
    "sms": ChannelSettings(cost=0.05, weekly_cap=1),
    "web_push": ChannelSettings(cost=0.0002, weekly_cap=5),
    "mobile_push": ChannelSettings(cost=0.0002, weekly_cap=5),
    "ads": ChannelSettings(cost=0.02, quiet_from=0, quiet_to=0, weekly_cap=7),
    "phone": ChannelSettings(cost=2.0, quiet_from=18, quiet_to=9, weekly_cap=1),
    "post": ChannelSettings(cost=0.8, quiet_from=0, quiet_to=0, weekly_cap=1),
}


class Settings(BaseSettings):
    """Everything that may be configured, each with a default that works on one machine."""

    model_config = SettingsConfigDict(
        env_prefix="NEXTBEST_",
        env_nested_delimiter="__",
        toml_file="nextbest.toml",
        extra="forbid",
        frozen=True,
    )

    home: Path = Path(".nextbest")
    """The one folder all state lives in."""
    now: Annotated[AwareDatetime, BeforeValidator(_aware)] | None = None
    """The moment to take for the present; None: the clock."""
    seed: int = 7

    event_log: str | None = None
    """SQLAlchemy URL of the event log; None: SQLite in the home folder."""
    mlflow: str | None = None
    """MLflow tracking URI; None: SQLite in the home folder."""
    rules: Path | None = None
    """YAML of the rule score; None: the rules that come with the package."""
    lifecycle: Path | None = None
    """YAML of engagement index and lifecycle stages; None: the rules that come with the package."""
    triggers: Path | None = None
    """YAML of the trigger rules; None: the rules that come with the package."""

    segments: Path | None = None
    """YAML of saved segments, name: expression; None: there are none."""
    needs: Path | None = None
    """YAML of needs that grow with time (models/needs.yaml shows how); None: there are none."""

    decisions_days: int = Field(400, ge=1)
    """Days after which a build forgets an answer given."""
    purchase_horizon_days: int = Field(30, ge=1)
    """"Buys within" of every recommendation's probability."""
    email_no_repeat_days: int = Field(14, ge=0, le=365)
    """Days in which an email shows a contact no item again that an email showed before; 0: no such rule."""
    explore_share: float = Field(0.1, ge=0, le=1)
    """Probability that a place is given to a new item, in answers that are asked to explore."""
    new_item_days: int = Field(30, ge=1)
    """Days since its first sale in which an item is new; one that never sold is."""
    churn_horizon_days: Annotated[int, Field(ge=1)] | Literal["cadence"] = 30
    """Churned: no order in this many days; "cadence": in three of the contact's usual gaps between orders."""
    holdout_days: int = Field(30, ge=1)
    """The last days of the data, kept from training to compare models on."""

    channels: dict[str, ChannelSettings] = DEFAULT_CHANNELS
    default_channel: str = "email"
    """The answer where nothing is known of a contact's responses."""
    unknown_consent: Literal["auto", "deny", "allow"] = "auto"
    """Whether a channel may be used for a contact whose consent was never recorded.

    auto: denied as soon as the business records consents here for anyone; allowed while it records none at
    all, because then the consents are kept where the addresses are.
    """
    unknown_reach: Literal["deny", "allow"] = "allow"
    """Whether a channel counts as reachable for a contact where that was never recorded."""

    message_holdout_share: float = Field(0.05, ge=0, lt=1)
    """Share of contacts whom a campaign leaves alone, so that what it causes can be told; 0: nobody."""
    message_holdout_salt: str = "messages"
    """Goes into the hash that chooses them; another salt is another group."""
    margin: float = Field(1.0, ge=0, le=1)
    """Share of revenue that is profit, for the return on marketing investment."""

    unsubscribe_cost: float | None = Field(None, ge=0)
    """Money that a contact's leaving a channel costs; None: as much as a response is worth."""

    webhooks: tuple[Webhook, ...] = ()
    """Where events of triggers are sent: url and secret each."""
    webhook_url: WebAddress | None = None
    """One more of them, for those who have one: with webhook_secret."""
    webhook_secret: SigningKey | None = None
    webhook_attempts: int = Field(10, ge=1, le=30)
    """Attempts, over about a day, after which an event goes to dead-letter/webhooks.jsonl."""
    webhook_timeout_seconds: float = Field(10.0, gt=0, le=120)

    serve_simulated: bool = False
    """Whether a model learned from simulated messages may choose channels for real contacts (to try it)."""

    host: str = "127.0.0.1"
    port: int = Field(3000, ge=1, le=65535)
    workers: int = Field(2, ge=1)
    """Processes that answer, each with the catalogue and the champions in memory (about 1 GB)."""
    write_key: SecretStr | None = None
    """Public key: may send events and ask recommendations."""
    secret_key: SecretStr | None = None
    """Secret key: may do everything; also signs identity tokens."""
    demo_shop: bool = False
    """Whether /demo is open although keys are set: it shows what is known of the contacts it offers."""
    origins: Annotated[list[Origin], NoDecode, BeforeValidator(_listed)] = []
    """Origins whose pages may call ("https://shop.example, https://m.example"); the service's own always."""
    trusted_proxies: Annotated[list[Network], NoDecode, BeforeValidator(_listed)] = []
    """Addresses or networks of proxies whose x-forwarded-for tells the caller's address."""
    address_rate: float | None = Field(None, gt=0)
    """Requests a second of one address without the secret key, a worker; None: 100 where keys are set."""
    key_rate: float | None = Field(None, gt=0)
    """Requests a second with one key, a worker; None: 1000 where keys are set."""
    rate_burst_seconds: float = Field(2.0, gt=0)
    """Seconds' worth of requests that may come at once."""
    alias_key: Literal["write", "secret"] = "write"
    """The key an alias needs to make two contacts one; with less it joins visits to the contact only."""
    compact_minutes: float = Field(60.0, ge=0)
    """How often the service brings the event log into the lake; 0: only `nextbest features build` does."""
    budget_ms: float = Field(60.0, gt=0)
    """Time a request may spend on the learned model before the next rung of the ladder answers."""
    campaign_budget_ms: float = Field(1000.0, gt=0)
    """The same for every ten contacts of a campaign call, and for a contact card: no page waits for them."""
    ranking_seconds: float = Field(3600.0, ge=0)
    """How long a contact's ranking is given again while nothing it goes by is new; 0: never."""
    rank_ahead: int = Field(2_500, ge=0)
    """Contacts, those seen last, whose ranking for the home page is ready before they ask; 0: nobody's."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_requests: bool = False
    """Whether every request is a line of the log: route, status, milliseconds, source, the answer's id."""
    log_contacts: bool = False
    """Whether those lines name the contact."""
    champions_poll_seconds: float = Field(5.0, gt=0)
    """How often the service looks whether an alias has moved."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order of precedence: arguments, environment, nextbest.toml."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def horizon_days(self) -> int:
        """Days ahead where one number serves for all contacts: holdout_days where churn goes by cadence."""
        days = self.churn_horizon_days
        return days if isinstance(days, int) else self.holdout_days

    def present(self) -> datetime:
        """Return the moment to take for the present; called by the front doors only."""
        return (self.now or datetime.now(UTC)).astimezone(UTC)

    @model_validator(mode="after")
    def _webhooks_are_whole(self) -> Self:
        if (self.webhook_url is None) != (self.webhook_secret is None):
            raise ValueError("webhook_url and webhook_secret go together: set both")
        urls = [webhook.url for webhook in self.all_webhooks]
        if len(urls) != len(set(urls)):
            raise ValueError("webhooks: each url once")
        return self

    @property
    def all_webhooks(self) -> tuple[Webhook, ...]:
        """Every webhook, however it was set."""
        if self.webhook_url is None or self.webhook_secret is None:
            return self.webhooks
        return (*self.webhooks, Webhook(url=self.webhook_url, secret=self.webhook_secret))

    @property
    def dead_letters(self) -> Path:
        """Events that a webhook never took, a line each."""
        return self.home.resolve() / "dead-letter" / "webhooks.jsonl"

    @property
    def lake(self) -> Path:
        """Canonical events as Parquet by day, and items, contacts and identities beside them."""
        return self.home.resolve() / "lake"

    @property
    def rejects(self) -> Path:
        """Rows that could not be taken in, with the reason."""
        return self.home.resolve() / "rejects"

    @property
    def tables(self) -> Path:
        """Feature tables as Parquet."""
        return self.home.resolve() / "features"

    @property
    def artifacts(self) -> Path:
        """Where MLflow keeps the files of runs and models."""
        return self.home.resolve() / "artifacts"

    @property
    def event_log_url(self) -> str:
        """SQLAlchemy URL of the event log."""
        return self.event_log or f"sqlite:///{self.home.resolve() / 'events.db'}"

    @property
    def mlflow_uri(self) -> str:
        """MLflow's tracking and registry URI."""
        return self.mlflow or f"sqlite:///{self.home.resolve() / 'mlflow.db'}"
