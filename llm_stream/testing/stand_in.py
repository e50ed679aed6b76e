"""The demo's answer if no model is configured."""

from __future__ import annotations

import itertools
from typing import Any

from .script import Pause
from .script import Script

PACE_S = 0.03

STAND_IN = """You asked: “{question}”

No model is connected, so this is a stand-in: a scripted server inside the demo, reached over HTTP by the real \
OpenAI client, one word at a time. Everything else is as it will be with a model.

Try to break it:

- Reload the page while this is being written: it goes on where it was.
- Switch the network off and on, or duplicate the tab.
- Press **Stop**: the upstream is closed at once, and the line below tells what was used until then.

For a real model, start the server again with a key:

```sh
export OPENAI_API_KEY=…
export OPENAI_BASE_URL=…  # if your provider is not OpenAI
```"""


def stand_in(request: Any) -> Script:
    messages = request.get("messages") or [{}]
    question = " ".join(str(messages[-1].get("content", "")).split())[:80]
    words = STAND_IN.format(question=question).replace(" ", " \0").split("\0")
    return Script(tuple(itertools.chain.from_iterable(zip(words, itertools.repeat(Pause(PACE_S))))))
