"""What each layer of the hot path costs, without sockets: a long answer, read in bursts or token by token.

python benchmarks/layers.py             microseconds per token, layer by layer
python benchmarks/layers.py --count     instructions per token, by valgrind: independent of the machine's mood
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from llm_stream.events import Event  # noqa: E402
from llm_stream.guard import guard_batches  # noqa: E402
from llm_stream.log.memory import MemoryLog  # noqa: E402
from llm_stream.upstream.chunks import ChunkDecoder  # noqa: E402
from llm_stream.upstream.http1 import ChunkedBody  # noqa: E402
from llm_stream.upstream.sse import Splitter  # noqa: E402
from llm_stream.wire.native import NativeWire  # noqa: E402

FRAME: dict[str, Any] = {
    "id": "chatcmpl-0123456789abcdefghijklmnopqrs",
    "object": "chat.completion.chunk",
    "created": 1795338921,
    "model": "bench",
    "service_tier": "default",
    "system_fingerprint": "fp_0123456789",
}
READ_BYTES = 65536


def answer(tokens: int) -> list[bytes]:
    """The HTTP chunks of an answer."""
    chunks = []
    for n in range(tokens):
        choice = {"index": 0, "delta": {"content": f"#{n} "}, "logprobs": None, "finish_reason": None}
        data = b"data: " + json.dumps(FRAME | {"choices": [choice], "usage": None}).encode() + b"\n\n"
        chunks.append(b"%x\r\n%b\r\n" % (len(data), data))
    return chunks


def in_bursts(chunks: list[bytes]) -> list[bytes]:
    whole = b"".join(chunks)
    return [whole[at : at + READ_BYTES] for at in range(0, len(whole), READ_BYTES)]


def layers() -> list[tuple[str, Callable[[list[Any]], list[Any]]]]:
    """Each takes what the one before it made of all the reads."""
    body, splitter, decoder, log, wire = ChunkedBody(), Splitter(), ChunkDecoder(), MemoryLog(), NativeWire()

    def decode(payloads: list[bytes]) -> list[Event]:
        return [event for payload in payloads for event in decoder.feed(payload)]

    def append(batches: list[list[Event]]) -> list[tuple[int, list[Event]]]:
        placed = []
        for batch in batches:
            placed.append((len(log) + 1, batch))
            log.append(batch)
        return placed

    return [
        ("HTTP chunks apart", lambda reads: [body.feed(read) for read in reads]),
        ("events apart", lambda reads: [splitter.feed(read) for read in reads]),
        ("JSON to events", lambda reads: [decode(payloads) for payloads in reads]),
        ("guard", lambda batches: list(guard_batches(batches))[:-1]),
        ("append", append),
        ("write native", lambda placed: [wire.encode("0123456789abcdef0123", first, batch) for first, batch in placed]),
    ]


def timed(reads: list[bytes], tokens: int) -> dict[str, float]:
    """Microseconds per token of each layer: the median of some rounds."""
    rounds: dict[str, list[float]] = {}
    for _ in range(7):
        given: list[Any] = reads
        for name, layer in layers():
            started = time.perf_counter()
            given = layer(given)
            rounds.setdefault(name, []).append((time.perf_counter() - started) / tokens * 1e6)
    return {name: statistics.median(times) for name, times in rounds.items()}


def main() -> None:
    tokens = 2000
    chunks = answer(tokens)
    figures = {"in bursts": timed(in_bursts(chunks), tokens), "token by token": timed(chunks, tokens)}
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
