"""The deployment that the checks examine: an `LLMStream` in an app, and gunicorn's configuration."""

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
    """The properties raise `NotChecked`. Expensive ones are computed once, at the first use."""

    def __init__(self, llm: Service, state: State, read: Callable[[], GunicornConfig], *, is_worker: bool) -> None:
        """`read` may raise `Unreadable`. `is_worker`: this process is a gunicorn worker that runs the app."""
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
        """The outcome of sending an event stream through the app and its middleware."""
        return Probe(self.state.app, self.llm.name).send(self.state.app)

    @property
    def candidates(self) -> Iterator[Candidate]:
        """Every model that may answer, once for each upstream that has it."""
        settings = self.settings
        models = dict.fromkeys((self.state.model, *settings.models, *settings.fallback_models))
        yield from self.state.upstreams.candidates(models)

    @property
    def health(self) -> Health:
        """The state of Redis."""
        if self.state.streams.shared is None:
            raise NotChecked("the streams are in the worker's memory (LLM_STREAM_LOG_URL is memory://)")
        return self.state.streams.shared.health

    @cached_property
    def _config(self) -> GunicornConfig | Unreadable:
        try:
            return self._read()
        except Unreadable as error:
            return error
