"""Questions to other workers that wait for their answers."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from threading import Event

ANSWER_S = 1.0
"""How long to wait for an answer. A worker that is alive answers within milliseconds."""


class Questions:
    """Thread-safe."""

    def __init__(self) -> None:
        self._open: dict[str, Event] = {}
        self._answers: dict[str, int | None] = {}

    def ask(self, send: Callable[[str], None]) -> tuple[bool, int | None]:
        """Call `send` with the id of a new question. Return whether an answer arrived, and the answer."""
        question, answered = secrets.token_hex(6), Event()
        self._open[question] = answered
        try:
            send(question)
            is_answered = answered.wait(ANSWER_S)
            return is_answered, self._answers.get(question)
        finally:
            self._open.pop(question, None)
            self._answers.pop(question, None)

    def answer(self, question: str, answer: int | None) -> None:
        if answered := self._open.get(question):  # otherwise the answer is too late
            self._answers[question] = answer
            answered.set()
