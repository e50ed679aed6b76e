"""What is examined: an `LLMStream` in an app, and how gunicorn serves it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from functools import cached_property

from ...core.shared.health import Health
from ...server.gunicorn_config import GunicornConfig
from ...server.gunicorn_config import Unreadable
from ...settings import Settings
from ...upstream.upstreams import Candidate
from ..service import Service
from ..state import State
from .finding import NotChecked
from .probe import Outcome
from .probe import Probe


class Patient:
    """The properties raise `NotChecked`. What is expensive is found out once, when a check first asks for it."""

    def __init__(self, llm: Service, state: State, read: Callable[[], GunicornConfig], *, is_worker: bool) -> None:
        """`read` raises `Unreadable`. `is_worker`: gunicorn is running the app, in this process."""
        self.llm = llm
        self.state = state
        self.is_worker = is_worker
        self._read = read

    @property
    def settings(self) -> Settings:
        return self.state.settings

    @property
    def has_budgets(self) -> bool:
        return self.settings.budgets is not None or self.llm.has_budget_function

    @property
    def gunicorn(self) -> GunicornConfig:
        if isinstance(self._config, Unreadable):
            raise NotChecked(str(self._config))
        return self._config

    @cached_property
    def probed(self) -> Outcome:
        """How an event stream comes through the app and its middleware."""
        return Probe(self.state.app, self.llm.name).send(self.state.app)

    @property
    def candidates(self) -> Iterator[Candidate]:
        """Every model that may write an answer, at each upstream that has it."""
        settings = self.settings
        models = dict.fromkeys((self.state.model, *settings.models, *settings.fallback_models))
        yield from self.state.upstreams.candidates(models)

    @property
    def health(self) -> Health:
        """Of Redis."""
        if self.state.streams.shared is None:
            raise NotChecked("the streams are in memory (LLM_STREAM_LOG_URL)")
        return self.state.streams.shared.health

    @cached_property
    def _config(self) -> GunicornConfig | Unreadable:
        try:
            return self._read()
        except Unreadable as error:
            return error
