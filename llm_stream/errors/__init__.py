"""LLMStreamError                        status  code
├── ConfigError                                            an invalid LLM_STREAM_* value; raised at registration
├── RequestError                  400     invalid_request  the client's fault; the message names the field
│   ├── InvalidField              422     invalid_field
│   ├── Unauthorized              401     unauthorized
│   ├── OverBudget                402     over_budget      the maximum cost exceeds what the budget has left
│   │   ├── BudgetHeld            402     over_budget      running answers have reserved the rest
│   │   └── Unpriced              402     unpriced         the maximum cost is unknown
│   ├── CrossSite                 403     cross_site
│   │   └── Prefetch              403     prefetch
│   ├── UsageClosed               403     usage_closed     authorize_usage is missing, or denied access
│   ├── NoLedger                  404     no_ledger
│   ├── UnknownStream             404     unknown_stream   never existed, or belongs to another owner
│   ├── KeyConflict               409     key_conflict
│   ├── ExpiredStream             410     expired_stream
│   ├── TooLarge                  413     too_large
│   ├── NotJSON                   415     not_json
│   ├── TooManyStreams            429     too_many_streams
│   ├── Overloaded                503     overloaded
│   ├── LogUnavailable            503     log_unavailable  Redis or Valkey does not answer
│   ├── LedgerUnavailable         503     ledger_unavailable
│   └── SeveralProcesses          503     several_processes  the processes do not share their streams
└── StreamError                   500     internal         ends a running stream
    ├── BudgetReached             402     over_budget      during the answer
    ├── StreamTooLarge            502     stream_too_large
    ├── InvalidOutput             502     invalid_output   the answer does not fit the schema
    ├── Interrupted               503     interrupted      the server is being restarted
    │   └── WorkerLost            503     worker_lost      the process that wrote the stream has died
    ├── TotalTimeout              504     total_timeout
    │   ├── FirstTokenTimeout     504     first_token_timeout
    │   └── IdleTimeout           504     idle_timeout
    └── UpstreamError             502     upstream_failed
        ├── UpstreamRejected      400     upstream_rejected
        │   └── ContextTooLong    400     context_too_long
        ├── UpstreamRefused       502     upstream_refused only the operator can fix it: key, credit, model name
        ├── UpstreamThrottled     429     upstream_throttled
        ├── UpstreamBusy          503     upstream_busy    the call was still queued at the deadline
        ├── UpstreamUnreachable   502     upstream_unreachable
        ├── UpstreamCut           502     upstream_cut     the answer ended without a finish_reason
        ├── UpstreamGarbled       502     upstream_garbled
        └── UpstreamTimeout       504     upstream_timeout

Before the first byte of a response, an error is a JSON body with an HTTP status. Afterwards it is a `failure` event.
Both have the same fields. Neither contains the provider's message, which may repeat the prompt.
"""

from __future__ import annotations

from .base import ConfigError
from .base import LLMStreamError
from .base import new_error_id
from .request import BudgetHeld
from .request import CrossSite
from .request import ExpiredStream
from .request import InvalidField
from .request import KeyConflict
from .request import LedgerUnavailable
from .request import LogUnavailable
from .request import NoLedger
from .request import NotJSON
from .request import OverBudget
from .request import Overloaded
from .request import Prefetch
from .request import RequestError
from .request import SeveralProcesses
from .request import TooLarge
from .request import TooManyStreams
from .request import Unauthorized
from .request import UnknownStream
from .request import Unpriced
from .request import UsageClosed
from .stream import BudgetReached
from .stream import ContextTooLong
from .stream import FirstTokenTimeout
from .stream import IdleTimeout
from .stream import Interrupted
from .stream import InvalidOutput
from .stream import StreamError
from .stream import StreamTooLarge
from .stream import TotalTimeout
from .stream import UpstreamBusy
from .stream import UpstreamCut
from .stream import UpstreamError
from .stream import UpstreamGarbled
from .stream import UpstreamRefused
from .stream import UpstreamRejected
from .stream import UpstreamThrottled
from .stream import UpstreamTimeout
from .stream import UpstreamUnreachable
from .stream import WorkerLost

__all__ = [
    "BudgetHeld",
    "BudgetReached",
    "ConfigError",
    "ContextTooLong",
    "CrossSite",
    "ExpiredStream",
    "FirstTokenTimeout",
    "IdleTimeout",
    "Interrupted",
    "InvalidField",
    "InvalidOutput",
    "KeyConflict",
    "LLMStreamError",
    "LedgerUnavailable",
    "LogUnavailable",
    "NoLedger",
    "NotJSON",
    "OverBudget",
    "Overloaded",
    "Prefetch",
    "RequestError",
    "SeveralProcesses",
    "StreamError",
    "StreamTooLarge",
    "TooLarge",
    "TooManyStreams",
    "TotalTimeout",
    "Unauthorized",
    "UnknownStream",
    "Unpriced",
    "UpstreamBusy",
    "UpstreamCut",
    "UpstreamError",
    "UpstreamGarbled",
    "UpstreamRefused",
    "UpstreamRejected",
    "UpstreamThrottled",
    "UpstreamTimeout",
    "UpstreamUnreachable",
    "UsageClosed",
    "WorkerLost",
    "new_error_id",
]
