"""OpenTelemetry metrics of a worker's load: running streams, refused requests, and records that the ledger lacks.

The metrics of ended streams are in `usage/telemetry.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..core import streams
from ..ledger import ledgers

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions
    from opentelemetry.metrics import Counter as Total
    from opentelemetry.metrics import Observation

_refused: Total | None = None


def begin() -> None:
    """Create the metrics once per process, for all `LLMStream`s. Without OpenTelemetry, do nothing."""
    global _refused
    try:
        from opentelemetry import metrics
    except ImportError:
        return
    if _refused is not None:
        return
    meter = metrics.get_meter("llm_stream")
    meter.create_observable_up_down_counter(
        "llm_stream.active_streams", [_active_streams], "{stream}", "Number of running streams."
    )
    meter.create_observable_up_down_counter(
        "llm_stream.unwritten_records", [_unwritten_records], "{record}", "Number of records not in the ledger yet."
    )
    _refused = meter.create_counter("llm_stream.refused_requests", "{request}", "Number of refused requests.")


def count_refusal(code: str) -> None:
    if _refused is not None:
        _refused.add(1, {"error.type": code})


def _active_streams(_: CallbackOptions) -> Iterator[Observation]:
    from opentelemetry.metrics import Observation

    # two apps of a process may use the same name, but the SDK keeps one value per name
    active = Counter[str]()
    for each in streams.every():
        active[each.name] += len(each.running())
    for name, count in active.items():
        yield Observation(count, {"llm_stream.name": name})


def _unwritten_records(_: CallbackOptions) -> Iterator[Observation]:
    from opentelemetry.metrics import Observation

    yield Observation(sum(ledger.unwritten for ledger in ledgers.every()))
