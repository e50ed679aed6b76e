"""Runs the cheap checks when a worker starts, and logs one line for each finding."""

from __future__ import annotations

import logging
from typing import Any

from ...server.gunicorn_config import GunicornConfig
from ...server.gunicorn_config import imported_early
from ..service import Service
from ..state import EXTENSION
from ..state import State
from ..state import apps
from .checks import CHECKS
from .patient import Patient
from .result import result_of

logger = logging.getLogger("llm_stream")


def warn(cfg: Any) -> None:
    """`cfg` is this worker's gunicorn configuration. Takes a few milliseconds."""
    config = GunicornConfig.of(cfg, imported_early())
    said = set()
    for app in apps():
        states: dict[Service, State] = app.extensions[EXTENSION]
        for llm, state in states.items():
            patient = Patient(llm, state, lambda: config, is_worker=True)
            for check in CHECKS:
                finding = result_of(check, patient).finding if check.in_workers else None
                if finding is not None and finding.level != "note" and finding not in said:
                    said.add(finding)
                    logger.warning("%s: %s %s %s", check.name, finding.what, finding.causes, finding.advice)
