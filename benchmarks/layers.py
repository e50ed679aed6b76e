"""Measures the cost of each layer of the hot path, without sockets: a long answer, read in bursts or token by token.

python benchmarks/layers.py               microseconds per token for each layer, and for other JSON decoders
python benchmarks/layers.py --responses   the same for the upstream's Responses API
python benchmarks/layers.py --count       instructions per token, counted by valgrind: independent of the machine's load
python benchmarks/layers.py --record      the same, saved in instructions.json as the tests' reference
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from llm_stream.core.guard import guard_batches  # noqa: E402
from llm_stream.core.log.memory import MemoryLog  # noqa: E402
from llm_stream.events import Event  # noqa: E402
from llm_stream.upstream import chunks  # noqa: E402
from llm_stream.upstream.chunks import ChunkDecoder  # noqa: E402
from llm_stream.upstream.http1 import ChunkedBody  # noqa: E402
from llm_stream.upstream.payloads import Splitter  # noqa: E402
from llm_stream.upstream.response_events import ResponseDecoder  # noqa: E402
from llm_stream.wire.native import NativeWire  # noqa: E402

FRAME: dict[str, Any] = {
    "id": "chatcmpl-0123456789abcdefghijklmnopqrs",
    "object": "chat.completion.chunk",
    "created": 1795338921,
    "model": "bench",
    "service_tier": "default",
    "system_fingerprint": "fp_0123456789",
}
DELTA: dict[str, Any] = {
    "type": "response.output_text.delta",
    "sequence_number": 1234,
    "item_id": "msg_0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdef",
    "output_index": 1,
    "content_index": 0,
    "delta": "#NUMBER ",
    "logprobs": [],
    "obfuscation": "0123456789",
}
READ_BYTES = 65536
RECORDED = Path(__file__).parent / "instructions.json"


def answer(tokens: int, api: str = "chat") -> list[bytes]:
    """The HTTP chunks of an answer."""
    if api == "chat":
        choice = {"index": 0, "delta": {"content": "#NUMBER "}, "logprobs": None, "finish_reason": None}
        data = b"data: " + json.dumps(FRAME | {"choices": [choice], "usage": None}).encode() + b"\n\n"
    else:
        data = b"event: response.output_text.delta\ndata: " + json.dumps(DELTA).encode() + b"\n\n"
    frame = data.replace(b"%", b"%%").replace(b"NUMBER", b"%06d")
    piece = b"%x\r\n%b\r\n" % (len(frame % 0), frame)  # built once: otherwise the measurement would include building it
    pieces = [piece % number for number in range(tokens)]
    return pieces


def in_bursts(pieces: list[bytes]) -> list[bytes]:
    whole = b"".join(pieces)
    return [whole[at : at + READ_BYTES] for at in range(0, len(whole), READ_BYTES)]


def layers(api: str = "chat") -> list[tuple[str, Callable[[list[Any]], list[Any]]]]:
    """The layers. Each takes the previous layer's output for all reads."""
    body, splitter, log, wire = ChunkedBody(), Splitter(), MemoryLog(), NativeWire()
    decoder = ChunkDecoder() if api == "chat" else ResponseDecoder()

    def decode(payloads: list[bytes]) -> list[Event]:
        return [event for payload in payloads for event in decoder.feed(payload)]

    def append(batches: list[list[Event]]) -> list[tuple[int, list[Event]]]:
        placed = []
        for batch in batches:
            placed.append((log.last + 1, batch))
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


def timed(reads: list[bytes], tokens: int, api: str = "chat") -> dict[str, float]:
    """Microseconds per token for each layer: the median of several rounds."""
    rounds: dict[str, list[float]] = {}
    for _ in range(7):
        given: list[Any] = reads
        for name, layer in layers(api):
            started = time.perf_counter()
            given = layer(given)
            rounds.setdefault(name, []).append((time.perf_counter() - started) / tokens * 1e6)
    return {name: statistics.median(times) for name, times in rounds.items()}


def decoders(tokens: int) -> dict[str, float]:
    """Microseconds to decode one chunk with each installed JSON decoder."""
    payload = answer(1)[0].partition(b"\r\n")[2][6:-4]
    times = {}
    for name, decode in _decoders():
        rounds = []
        for _ in range(7):
            started = time.perf_counter()
            for _ in range(tokens):
                decode(payload)
            rounds.append((time.perf_counter() - started) / tokens * 1e6)
        times[name] = statistics.median(rounds)
    return times


def _decoders() -> Iterator[tuple[str, Callable[[bytes], Any]]]:
    import jiter
    import msgspec

    yield "json, all of it", json.loads
    yield "jiter, all of it", jiter.from_json
    yield "msgspec, all of it", msgspec.json.decode
    yield "msgspec, by type", chunks._decode_plain
    try:
        import orjson
    except ImportError:
        return
    yield "orjson, all of it", orjson.loads


MODES: dict[str, Callable[[list[bytes]], list[bytes]]] = {"in bursts": in_bursts, "token by token": list}


def instructions() -> dict[str, float]:
    """Instructions per token, in each mode."""
    return {mode: _instructions_of(mode, 1000) for mode in MODES}


def _instructions_of(mode: str, tokens: int) -> float:
    tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--instr-atstart=no"]
    command = [*tool, sys.executable, str(Path(__file__)), "--run", mode, str(tokens)]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    (line,) = (line for line in done.stderr.splitlines() if "Collected" in line)
    return int(line.rpartition(":")[2]) / tokens


def run(mode: str, tokens: int) -> None:
    """The code that valgrind counts: no one-time work, and no garbage collector, whose work depends on all objects."""
    given: list[Any] = MODES[mode](answer(tokens))
    for turn in ("warm", "counted"):
        made = given
        gc.collect()
        gc.disable()
        if turn == "counted":
            _count("on")
        for _, layer in layers():
            made = layer(made)
    _count("off")


def _count(switch: str) -> None:
    subprocess.run(["callgrind_control", "-i", switch, str(os.getpid())], check=True, capture_output=True)


def main() -> None:
    if "--run" in sys.argv:
        run(sys.argv[2], int(sys.argv[3]))
        return
    if "--count" in sys.argv or "--record" in sys.argv:
        counted = instructions()
        print(json.dumps(counted, indent=2))
        if "--record" in sys.argv:
            RECORDED.write_text(json.dumps(counted, indent=2) + "\n")
        return
    tokens = 2000
    api = "responses" if "--responses" in sys.argv else "chat"
    figures = {mode: timed(read(answer(tokens, api)), tokens, api) for mode, read in MODES.items()}
    if api == "responses":
        print(json.dumps(figures, indent=2))
        return
    print(json.dumps(figures | {"decoding one chunk": decoders(tokens)}, indent=2))


if __name__ == "__main__":
    main()
