"""Runs the scripted upstream as a process: prints its address, and answers until stopped."""

from __future__ import annotations

import argparse
import itertools
from typing import Any

from .script import Pause
from .script import Script
from .storyteller import tell
from .upstream import Upstream


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m llm_stream.testing", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tokens", type=int, help="answer each question with this many tokens")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds before each token")
    options = parser.parse_args()

    def paced(request: Any) -> Script:
        texts = (f"t{number} " for number in range(options.tokens))
        return Script(tuple(itertools.chain.from_iterable((Pause(options.pause), text) for text in texts)))

    upstream = Upstream(paced if options.tokens else tell, port=options.port)
    print(upstream.base_url, flush=True)
    upstream._server.serve_forever()


_main()
