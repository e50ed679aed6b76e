"""The ledgers of this process: one for each database, whoever writes to it. SQLAlchemy is imported with the first."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import ConfigError

if TYPE_CHECKING:
    from .ledger import Ledger

_lock = threading.Lock()
_ledgers: dict[str, Ledger] = {}


def of(url: str) -> Ledger:
    """Raises `ConfigError`."""
    try:
        from .ledger import Ledger

        with _lock:
            return _ledgers.get(url) or _ledgers.setdefault(url, Ledger(url))
    except ImportError as error:
        raise ConfigError(
            f"LLM_STREAM_LEDGER_URL needs {error.name}: pip install 'flask-llm-stream[ledger]'"
        ) from error


def every() -> Iterator[Ledger]:
    return iter(list(_ledgers.values()))
