"""The `LLM_STREAM_*` settings: their types, defaults and checks.

The field `heartbeat_s` is the key `LLM_STREAM_HEARTBEAT_S` in `app.config` or in the environment, where lists and
tables are JSON. Settings are read once, when the blueprint is registered.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
from decimal import Decimal
from typing import Annotated
from typing import Any
from typing import Literal

import msgspec

from .errors import ConfigError
from .errors.validation import split_message

PREFIX = "LLM_STREAM_"

Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
Deadline = Annotated[float, msgspec.Meta(gt=0)]
ApiName = Literal["chat", "responses"]

LOG_SCHEMES = (
    "memory", "redis", "rediss", "valkey", "valkeys", "unix",
    "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel",
)  # fmt: skip

LARGEST_BUDGET = 4_000_000
"""The ledger stores amounts as integers of 10^-12. A signed 64-bit integer holds twice this limit."""


@dataclass(frozen=True, kw_only=True)
class Tier:
    """Prices for all tokens of a request with more than `above` input tokens. None: as in the base price."""

    above: Count
    input: Decimal | None = None
    output: Decimal | None = None
    cached: Decimal | None = None
    cache_write: Decimal | None = None
    reasoning: Decimal | None = None

    def __post_init__(self) -> None:
        _check_amounts(self.input, self.output, self.cached, self.cache_write, self.reasoning)


@dataclass(frozen=True, kw_only=True)
class Price:
    """Price per million tokens. A kind without its own price costs the same as other input or output."""

    input: Decimal
    output: Decimal
    cached: Decimal | None = None
    cache_write: Decimal | None = None
    reasoning: Decimal | None = None
    currency: Currency = "USD"
    tiers: tuple[Tier, ...] = ()
    service_tiers: dict[str, Decimal] = field(default_factory=dict)
    """What all of it is multiplied by, under the provider's name for a class of service."""

    def __post_init__(self) -> None:
        _check_amounts(self.input, self.output, self.cached, self.cache_write, self.reasoning)
        _check_amounts(*self.service_tiers.values())


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one owner may spend per day and per month (UTC)."""

    day: Decimal | None = None
    month: Decimal | None = None
    currency: Currency = "USD"
    unpriced: Literal["refuse", "allow"] = "refuse"
    """What becomes of a request whose cost is not known beforehand: a budget cannot hold what it cannot count."""

    def __post_init__(self) -> None:
        if self.day is None and self.month is None:
            raise ValueError("Expected a limit for `day`, for `month` or for both")
        for limit in (self.day, self.month):
            if limit is not None and not (limit.is_finite() and 0 <= limit <= LARGEST_BUDGET):
                raise ValueError(f"Expected an amount from 0 to {LARGEST_BUDGET}")


class Upstream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of several APIs that answer."""

    base_url: Annotated[str, msgspec.Meta(pattern="^https?://")]
    key_variable: str
    """The environment variable that holds its key."""
    api: ApiName = "chat"
    models: tuple[str, ...] | dict[str, str]
    """The models that it has; a table where it calls them by other names: `{"ours": "its"}`."""
    calls_at_once: Positive | None = None
    """Per worker; further calls are queued."""
    calls_per_minute: Positive | None = None
    """Per worker; further calls are queued."""

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("Expected at least one model in `models`")
        if len(set(self.models)) < len(self.models):
            raise ValueError("Expected each model in `models` once")

    @property
    def names(self) -> dict[str, str]:
        """What it calls each of our models."""
        return self.models if isinstance(self.models, dict) else {name: name for name in self.models}


@dataclass(frozen=True, kw_only=True)
class Settings:
    # access
    public: bool = False
    """Allow everybody, with the client's address as the owner. Off, `authorize` is required."""
    origins: tuple[Annotated[str, msgspec.Meta(pattern=r"^https?://[^/*]+$")], ...] = ()
    """Origins of other sites that may call, for example `https://app.example.com`."""

    # requests
    model: str | None = None
    """The model, where the `LLMStream` was not given one."""
    models: tuple[str, ...] = ()
    """Models that a client may choose, beside the default one."""
    fallback_models: tuple[str, ...] = ()
    """Models to try, in this order, when the one asked for cannot be had."""
    max_output_tokens: Positive = 4096
    """The most that one answer may hold; always sent upstream."""
    max_request_bytes: Positive = 1_048_576
    """Bodies over this are refused before they are read."""
    api: ApiName | dict[str, ApiName] = "chat"
    """The API that the upstream is asked by: `chat` (completions) or `responses`; or a table by model."""

    # deadlines
    status_hold_s: Seconds = 10.0
    """How long a POST waits for the first event, so that an error can be an honest HTTP status."""
    first_token_s: Deadline = 60.0
    """From the start to the first content, retries included."""
    idle_s: Deadline = 60.0
    """The longest gap between content; upstream pings do not count."""
    total_s: Deadline = 600.0
    """The longest that an answer may take."""

    # retries
    retries: Count = 4
    """How often a refused or broken call is made again before there is content; 0: never."""
    retry_after_content: bool = False
    """Make one more attempt when an answer breaks off; readers are told by `reset`."""
    hedge_after_s: Deadline | None = None
    """Ask a second time when a call has no content after this long, and keep the first that speaks. None: never."""

    # upstreams
    upstreams: dict[str, Upstream] = field(default_factory=dict)
    """Where answers come from, by name. Without it, the client of the `LLMStream` is the only upstream."""

    # tools
    tool_s: Deadline = 30.0
    """How long a tool may run, unless its decorator says otherwise."""
    max_steps: Positive = 10
    """How often the model may be called for one answer, because tools have returned."""

    # readers
    heartbeat_s: Seconds = 15.0
    """The longest silence towards a reader; 0: no heartbeats."""
    send_timeout_s: Deadline = 30.0
    """How long a reader may go without taking what is written to it."""
    on_disconnect: Literal["cancel", "finish"] = "cancel"
    """What becomes of a stream that nobody reads any more: `cancel` or `finish`."""
    disconnect_grace_s: Seconds = 5.0
    """How long such a stream waits for a reader to come back before it is cancelled."""
    finish_s: Deadline = 120.0
    """With `finish`: how long it may run on without a reader."""

    fast_path: bool = True
    """Under gunicorn with gevent, let the event loop pass tokens on where nothing stands between."""

    # logs
    log_url: str = "memory://"
    """Where logs are kept: `memory://` is the memory of one worker; `redis://host:6379/0` is shared by many."""
    retention_s: Seconds = 600.0
    """How long the log of a finished stream is kept."""
    max_stream_bytes: Positive = 4_194_304
    """The most that one log may hold."""
    max_retained_bytes: Count = 268_435_456
    """The most that all finished logs of a worker may hold together; the oldest go first."""
    max_streams: Positive = 1000
    """Answers that one worker writes at once."""
    max_streams_per_owner: Positive = 10
    """Answers that one owner may have written at once."""

    # money
    prices: dict[str, Price] = field(default_factory=dict)
    """By model, per million tokens: `{"input": "14", "output": "58", "cached": "7", "currency": "INR"}`."""
    ledger_url: str | None = None
    """Where usage records are kept: `sqlite:////var/lib/app/usage.db`, or `postgresql://…`."""
    budgets: Budget | None = None
    """What each owner may spend: `{"day": "5", "month": "50", "currency": "INR"}`; needs the ledger."""

    # observability
    log_format: Literal["text", "json"] = "text"
    """The form of the lines that go to the server's log: `text` or `json`."""
    telemetry_content: bool = False
    """Let the spans of OpenTelemetry hold the prompts and the answers."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Settings:
        """Read the `LLM_STREAM_*` keys of a Flask config. Raises `ConfigError`, which names the invalid key."""
        values = {
            key.removeprefix(PREFIX).lower(): _parse_boolean(value)
            for key, value in config.items()
            if key.startswith(PREFIX) and value not in (None, "")
        }
        names = {field.name for field in fields(cls)}
        for name in values.keys() - names:
            raise ConfigError(_unknown_key(name, names))
        try:
            settings = msgspec.convert(values, cls, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(_invalid_value(error)) from error
        if settings.log_url.partition("://")[0] not in LOG_SCHEMES:
            raise ConfigError(f"LLM_STREAM_LOG_URL is wrong: it must begin with {', '.join(LOG_SCHEMES)} and ://.")
        settings._check_upstreams()
        return settings

    def api_of(self, model: str, default: ApiName | None = None) -> ApiName:
        """The API that a model is asked by. `default` is the one of an `LLMStream`; a table's entry goes before it."""
        if isinstance(self.api, dict):
            return self.api.get(model) or default or "chat"
        return default or self.api

    def _check_upstreams(self) -> None:
        for name, upstream in self.upstreams.items():
            if not os.environ.get(upstream.key_variable):
                raise ConfigError(
                    f"LLM_STREAM_UPSTREAMS: the key of {name!r} is missing:"
                    f" set {upstream.key_variable} in the environment."
                )
        for model in filter(None, (self.model, *self.models, *self.fallback_models)):
            self.check_is_served(model)

    def check_is_served(self, model: str) -> None:
        """Raises `ConfigError` for a model that no upstream of the table has."""
        if self.upstreams and not any(model in upstream.names for upstream in self.upstreams.values()):
            raise ConfigError(f"LLM_STREAM_UPSTREAMS: no upstream has the model {model!r} in its `models`.")

    @property
    def is_shared(self) -> bool:
        """Whether the log is one that several workers share."""
        return self.log_url != "memory://"


def _check_amounts(*amounts: Decimal | None) -> None:
    """Raises `ValueError`, which msgspec turns into a `ValidationError`."""
    for amount in amounts:
        if amount is not None and not (amount.is_finite() and amount >= 0):
            raise ValueError(f"Expected an amount of money, got {amount}")


def _parse_boolean(value: object) -> object:
    """Accept yes, no, on and off, which are common in environment variables."""
    if isinstance(value, str):
        return {"yes": True, "on": True, "no": False, "off": False}.get(value.strip().lower(), value)
    return value


def _unknown_key(name: str, names: set[str]) -> str:
    message = f"There is no setting {PREFIX}{name.upper()}."
    for close in difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.6):
        message += f" Did you mean {PREFIX}{close.upper()}?"
    return message


def _invalid_value(error: Exception) -> str:
    """Names the key as the operator wrote it."""
    problem, where = split_message(error)
    name, _, inside = where.partition("[")
    inside = f"[{inside}" if inside else ""
    name, dot, rest = name.partition(".")
    is_table = "`array" in problem or "`object" in problem
    hint = " In the environment, lists and tables are written as JSON." if is_table else ""
    return f"{PREFIX}{name.upper()}{inside}{dot}{rest} is wrong: {problem}.{hint}"
