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
"""The ledger stores amounts as integer multiples of 10^-12. A signed 64-bit integer holds twice this limit."""


@dataclass(frozen=True, kw_only=True)
class Tier:
    """Prices for all tokens of a request with more than `above` input tokens. None: the base price applies."""

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
    """Price per million tokens. A kind of token without its own price costs the same as other input or output."""

    input: Decimal
    output: Decimal
    cached: Decimal | None = None
    cache_write: Decimal | None = None
    reasoning: Decimal | None = None
    currency: Currency = "USD"
    tiers: tuple[Tier, ...] = ()
    service_tiers: dict[str, Decimal] = field(default_factory=dict)
    """The factor for all prices, by the provider's name of the service tier."""

    def __post_init__(self) -> None:
        _check_amounts(self.input, self.output, self.cached, self.cache_write, self.reasoning)
        _check_amounts(*self.service_tiers.values())


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one owner may spend per day and per month (UTC)."""

    day: Decimal | None = None
    month: Decimal | None = None
    currency: Currency = "USD"
    unpriced: Literal["refuse", "allow"] = "refuse"
    """Whether to `refuse` or `allow` a request whose maximum cost is unknown: no budget can be reserved for it."""

    def __post_init__(self) -> None:
        if self.day is None and self.month is None:
            raise ValueError("Expected a limit for `day`, for `month` or for both")
        for limit in (self.day, self.month):
            if limit is not None and not (limit.is_finite() and 0 <= limit <= LARGEST_BUDGET):
                raise ValueError(f"Expected an amount from 0 to {LARGEST_BUDGET}")


class Upstream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of `LLM_STREAM_UPSTREAMS`: an API that serves models."""

    base_url: Annotated[str, msgspec.Meta(pattern="^https?://")]
    key_variable: str
    """The environment variable that holds the API key."""
    api: ApiName = "chat"
    models: tuple[str, ...] | dict[str, str]
    """The models that this upstream serves. If it has other names for them, a table: `{"our name": "its name"}`."""
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
        """The upstream's name for each of our models."""
        return self.models if isinstance(self.models, dict) else {name: name for name in self.models}


@dataclass(frozen=True, kw_only=True)
class Settings:
    # access
    public: bool = False
    """Allow requests without authorization; the client's address is the owner. If off, `authorize` is required."""
    origins: tuple[Annotated[str, msgspec.Meta(pattern=r"^https?://[^/*]+$")], ...] = ()
    """Origins of other sites whose pages may send requests, for example `https://app.example.com`."""

    # requests
    model: str | None = None
    """The default model, for an `LLMStream` that is created without `model`."""
    models: tuple[str, ...] = ()
    """Models that a client may choose, in addition to the default model."""
    fallback_models: tuple[str, ...] = ()
    """Models to try, in this order, when the requested model is not available."""
    max_output_tokens: Positive = 4096
    """The maximum number of output tokens of one answer; always sent upstream."""
    max_request_bytes: Positive = 1_048_576
    """The maximum size of a request body, in bytes. A larger body is refused before it is read."""
    api: ApiName | dict[str, ApiName] = "chat"
    """The API of the upstream: `chat` (chat completions) or `responses`; or a table of APIs by model."""

    # deadlines
    status_hold_s: Seconds = 10.0
    """How many seconds a POST waits for the first event, so an early error gets its own HTTP status instead of 200."""
    first_token_s: Deadline = 60.0
    """The maximum time from the start of a stream to its first content, in seconds, retries included."""
    idle_s: Deadline = 60.0
    """The maximum gap between two pieces of content, in seconds; upstream pings do not count as content."""
    total_s: Deadline = 600.0
    """The maximum duration of an answer, in seconds."""

    # retries
    retries: Count = 4
    """How often a refused or broken call is retried before there is content; 0: never."""
    retry_after_content: bool = False
    """Make one more attempt when an answer breaks off after content. Readers get a `reset` event."""
    hedge_after_s: Deadline | None = None
    """Send a second call when a call has no content after this many seconds; the first answer wins. None: never."""

    # upstreams
    upstreams: dict[str, Upstream] = field(default_factory=dict)
    """The upstreams, by name. If empty, the client of the `LLMStream` is the only upstream."""

    # tools
    tool_s: Deadline = 30.0
    """The maximum duration of a tool call, in seconds, unless the tool's decorator sets `deadline_s`."""
    max_steps: Positive = 10
    """The maximum number of model calls for one answer: each round of tool results needs another call."""

    # readers
    heartbeat_s: Seconds = 15.0
    """After this many seconds without an event, a reader gets a heartbeat; 0: no heartbeats."""
    send_timeout_s: Deadline = 30.0
    """After this many seconds without accepting any data, a reader is disconnected."""
    on_disconnect: Literal["cancel", "finish"] = "cancel"
    """What to do with a stream when its last reader disconnects: `cancel` it or `finish` it."""
    disconnect_grace_s: Seconds = 5.0
    """With `cancel`: how many seconds the stream waits for a reader to reconnect."""
    finish_s: Deadline = 120.0
    """With `finish`: how many seconds the stream may continue without a reader."""

    fast_path: bool = True
    """Under gunicorn with gevent, write tokens directly from the event loop, unless middleware wraps the response."""

    # logs
    log_url: str = "memory://"
    """Where logs are kept: `memory://` is the memory of one worker; `redis://host:6379/0` is shared by all workers."""
    retention_s: Seconds = 600.0
    """How many seconds the log of a finished stream is kept."""
    max_stream_bytes: Positive = 4_194_304
    """The maximum size of one log, in bytes."""
    max_retained_bytes: Count = 268_435_456
    """The maximum total size of a worker's finished logs, in bytes; the oldest logs are dropped first."""
    max_streams: Positive = 1000
    """The maximum number of answers that one worker writes at once."""
    max_streams_per_owner: Positive = 10
    """The maximum number of running answers per owner."""

    # money
    prices: dict[str, Price] = field(default_factory=dict)
    """Prices by model, per million tokens: `{"input": "14", "output": "58", "cached": "7", "currency": "INR"}`."""
    ledger_url: str | None = None
    """The database for usage records: `sqlite:////var/lib/app/usage.db`, or `postgresql://…`."""
    budgets: Budget | None = None
    """The budget of each owner: `{"day": "5", "month": "50", "currency": "INR"}`; requires the ledger."""

    # observability
    log_format: Literal["text", "json"] = "text"
    """The format of the server's log lines: `text` or `json`."""
    telemetry_content: bool = False
    """Include prompts and answers in OpenTelemetry spans."""

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
            schemes = ", ".join(f"{scheme}://" for scheme in LOG_SCHEMES)
            raise ConfigError(f"LLM_STREAM_LOG_URL is wrong: it must begin with one of {schemes}.")
        settings._check_upstreams()
        return settings

    def api_of(self, model: str, default: ApiName | None = None) -> ApiName:
        """The API to call a model with. `default` is the API of the `LLMStream`; a table's entry overrides it."""
        if isinstance(self.api, dict):
            return self.api.get(model) or default or "chat"
        return default or self.api

    def _check_upstreams(self) -> None:
        for name, upstream in self.upstreams.items():
            if not os.environ.get(upstream.key_variable):
                raise ConfigError(
                    f"LLM_STREAM_UPSTREAMS: the key of {name!r} is missing:"
                    f" set the environment variable {upstream.key_variable}."
                )
        for model in filter(None, (self.model, *self.models, *self.fallback_models)):
            self.check_is_served(model)

    def check_is_served(self, model: str) -> None:
        """Raises `ConfigError` for a model that no upstream of the table serves."""
        if self.upstreams and not any(model in upstream.names for upstream in self.upstreams.values()):
            raise ConfigError(
                f"LLM_STREAM_UPSTREAMS: no upstream has the model {model!r}: add it to the `models` of one of them."
            )

    @property
    def is_shared(self) -> bool:
        """Whether several workers share the log."""
        return self.log_url != "memory://"


def _check_amounts(*amounts: Decimal | None) -> None:
    """Raises `ValueError`, which msgspec turns into a `ValidationError`."""
    for amount in amounts:
        if amount is not None and not (amount.is_finite() and amount >= 0):
            raise ValueError(f"Expected an amount of money of 0 or more, got {amount}")


def _parse_boolean(value: object) -> object:
    """Converts yes, no, on and off, which are common in environment variables."""
    if isinstance(value, str):
        return {"yes": True, "on": True, "no": False, "off": False}.get(value.strip().lower(), value)
    return value


def _unknown_key(name: str, names: set[str]) -> str:
    message = f"There is no setting {PREFIX}{name.upper()}."
    for close in difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.6):
        message += f" Did you mean {PREFIX}{close.upper()}?"
    return message


def _invalid_value(error: Exception) -> str:
    """The message, with the key spelled as the operator writes it."""
    problem, where = split_message(error)
    name, _, inside = where.partition("[")
    inside = f"[{inside}" if inside else ""
    name, dot, rest = name.partition(".")
    is_table = "`array" in problem or "`object" in problem
    hint = " Write lists and tables as JSON in environment variables." if is_table else ""
    return f"{PREFIX}{name.upper()}{inside}{dot}{rest} is wrong: {problem}.{hint}"
