"""The scripted model: the question determines its answer. It records the time of each call."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from collections.abc import Sequence
from time import time
from typing import Any

from llm_stream.testing import Pause
from llm_stream.testing import Script

from .question import Question


class Model:
    def __init__(self, questions: Sequence[Question]) -> None:
        self._questions = questions
        self._lock = threading.Lock()

    def script(self, body: Any) -> Script:
        question = self._questions[int(body["messages"][0]["content"].split()[0])]
        with self._lock:
            question.calls.append(time())
        return Script(_steps(question), usage=question.bill)


def _steps(question: Question) -> Iterator[Any]:
    for n in range(question.tokens):
        yield Pause(question.pace_s)
        yield question.piece(n)
        question.written = max(question.written, n + 1)
