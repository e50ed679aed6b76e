"""The ledgers of this process, one per database URL. The first one imports SQLAlchemy."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import ConfigError

if TYPE_CHECKING:
    from .ledger import Ledger

EXIT_S = 1.0

_lock = threading.Lock()
_ledgers: dict[str, Ledger] = {}


def of(url: str) -> Ledger:
    """The ledger of this URL, made on first use. Raises `ConfigError`."""
    try:
        from .ledger import Ledger

        with _lock:
            return _ledgers.get(url) or _ledgers.setdefault(url, Ledger(url))
    except ImportError as error:
        raise ConfigError(
            f"LLM_STREAM_LEDGER_URL needs {error.name}: pip install 'flask-llm-stream[ledger]'"
        ) from error


def close_all(within_s: float) -> None:
    """Write all queues and disconnect. If a database is unreachable, another worker settles the rest later."""
    for ledger in every():
        ledger.close(within_s)


def every() -> Iterator[Ledger]:
    return iter(list(_ledgers.values()))


atexit.register(close_all, EXIT_S)
