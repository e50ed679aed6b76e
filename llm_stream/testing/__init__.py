"""An OpenAI-compatible server on loopback that plays scripted answers and every kind of failure.

    with Upstream() as upstream:
        upstream.answer("Hel", "lo")                            # the answer to the next request
        upstream.answer("Hel", Cut())                           # the one after it breaks off
        upstream.answer(status=429, headers={"Retry-After": "1"})
        client = OpenAI(base_url=upstream.base_url, api_key="none")

It is a real HTTP server, for the real client. The demo app uses it if no API key is configured.
`python -m llm_stream.testing` runs it as a separate process.
"""

from __future__ import annotations

from .reading import read_events
from .script import Cut
from .script import Gate
from .script import Pause
from .script import Script
from .script import Stall
from .script import Step
from .stand_in import stand_in
from .upstream import Asked
from .upstream import Upstream

__all__ = ["Asked", "Cut", "Gate", "Pause", "Script", "Stall", "Step", "Upstream", "read_events", "stand_in"]
