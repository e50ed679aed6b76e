"""Streams a language model's answers from a Flask app over SSE."""

from .blueprint import LLMStream
from .chat_request import ChatRequest
from .core.answer import Answer
from .core.guard import guard
from .core.tools.tool import ToolError
from .errors import ConfigError
from .errors import LLMStreamError
from .errors import RequestError
from .errors import StreamError
from .errors import UpstreamError
from .events import Approval
from .events import Data
from .events import Delta
from .events import Done
from .events import Event
from .events import Failure
from .events import File
from .events import Opaque
from .events import Partial
from .events import Reasoning
from .events import Refusal
from .events import Reset
from .events import Source
from .events import Start
from .events import Step
from .events import ToolCall
from .events import ToolResult
from .events import Usage
from .signals import stream_settled
from .signals import stream_started
from .usage.record import UsageRecord
from .web.handle import StreamHandle

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Approval",
    "ChatRequest",
    "ConfigError",
    "Data",
    "Delta",
    "Done",
    "Event",
    "Failure",
    "File",
    "LLMStream",
    "LLMStreamError",
    "Opaque",
    "Partial",
    "Reasoning",
    "Refusal",
    "RequestError",
    "Reset",
    "Source",
    "Start",
    "Step",
    "StreamError",
    "StreamHandle",
    "ToolCall",
    "ToolError",
    "ToolResult",
    "UpstreamError",
    "Usage",
    "UsageRecord",
    "guard",
    "stream_settled",
    "stream_started",
]
