"""The clock: one thread checks the deadlines and readers of all streams, so the checks cost nothing per event."""

from __future__ import annotations

import logging
import threading
from time import monotonic
from time import sleep

from .followed import Followed

logger = logging.getLogger("llm_stream")

TICK_S = 0.2


class Clock:
    """The thread runs only while there are streams to tick."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[int, Followed] = {}
        self._thread: threading.Thread | None = None

    def watch(self, stream: Followed) -> None:
        """Tick this stream until it is at rest."""
        with self._lock:
            self._watched[id(stream)] = stream
            if self._thread is None or not self._thread.is_alive():  # the thread does not survive a fork
                self._thread = threading.Thread(target=self._run, name="llm_stream clock", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # no more threads; the next stream tries again
                    logger.exception(
                        "cannot start the clock's thread: deadlines are not checked until the next stream starts"
                    )
                    self._thread = None

    def _run(self) -> None:
        while True:
            sleep(TICK_S)
            now = monotonic()
            for stream in list(self._watched.values()):
                try:
                    stream.tick(now)
                except Exception:
                    logger.exception("the clock failed for stream %s", stream.id)
            with self._lock:
                self._watched = {key: stream for key, stream in self._watched.items() if not stream.at_rest}
                if not self._watched:
                    self._thread = None
                    return
