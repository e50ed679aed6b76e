"""Streams a language model's answers from a Flask app over SSE."""

from .blueprint import LLMStream
from .chat_request import ChatRequest
from .core.guard import guard
from .errors import ConfigError
from .errors import LLMStreamError
from .errors import RequestError
from .errors import StreamError
from .errors import UpstreamError
from .events import Delta
from .events import Done
from .events import Event
from .events import Failure
from .events import Reasoning
from .events import Refusal
from .events import Reset
from .events import Start
from .events import ToolCall
from .events import Usage
from .signals import stream_settled
from .signals import stream_started
from .usage.record import UsageRecord

__version__ = "0.1.0"

__all__ = [
    "ChatRequest",
    "ConfigError",
    "Delta",
    "Done",
    "Event",
    "Failure",
    "LLMStream",
    "LLMStreamError",
    "Reasoning",
    "Refusal",
    "RequestError",
    "Reset",
    "Start",
    "StreamError",
    "ToolCall",
    "UpstreamError",
    "Usage",
    "UsageRecord",
    "guard",
    "stream_settled",
    "stream_started",
]
