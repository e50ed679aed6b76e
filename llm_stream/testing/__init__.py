"""An OpenAI-compatible server on loopback that does what a script says, well or badly.

    with Upstream() as upstream:
        upstream.answer("Hel", "lo")                            # the next request gets this
        upstream.answer("Hel", Cut())                           # the one after it breaks off
        upstream.answer(status=429, headers={"Retry-After": "1"})
        client = OpenAI(base_url=upstream.base_url, api_key="none")

It is a real server, reached through the real client; the demo app answers from it where there is no key.
`python -m llm_stream.testing` runs one in a process of its own.
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
