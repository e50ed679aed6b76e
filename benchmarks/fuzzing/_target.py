"""Runs one check under Atheris, or without Atheris on random changes of the corpus. `_runs.py` starts this process.

    python benchmarks/fuzzing/_target.py tests.decoding tests/corpus/decoder SECONDS SEED FOLDER

New inputs are written into FOLDER/new, and inputs that break a promise into FOLDER/faults.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

INSTRUMENTED = ["llm_stream.upstream"]
MOST_BYTES = 4096
MOST_CHANGES = 6
PARTS = [b"\r", b"\n", b"\r\n", b"\n\n", b":", b"{", b"}", b"[", b'"', b"\\ud83e", b"null", b"1e999", b"-1", b"data: ",
         b"https://[", b"9" * 20, b"\xff", b"0\r\n\r\n", b"[DONE]", b"\xef\xbb\xbf"]  # fmt: skip


class Target:
    def __init__(self, check: Callable[[bytes], object], folder: Path) -> None:
        self._check = check
        self._folder = folder
        self._begun = time.monotonic()
        self._seen: set[str] = set()
        self.executions = 0

    def __call__(self, data: bytes) -> None:
        """Catches faults, because libFuzzer would exit at the first one."""
        self.executions += 1
        try:
            self._check(data)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            place = f"{type(error).__name__} {Path(frames[-1].filename).name}:{frames[-1].lineno}"
            if place not in self._seen:
                self._seen.add(place)
                (self._folder / "faults" / hashlib.sha1(data).hexdigest()[:12]).write_bytes(data)
                print(
                    f"{place}: {error}\n{data!r}\n{''.join(traceback.format_tb(error.__traceback__)[-3:])}", flush=True
                )

    def tell(self) -> None:
        (self._folder / "counts.json").write_text(
            json.dumps({"executions": self.executions, "faults": len(self._seen)})
        )


def changed(data: bytes, corpus: list[bytes], pick: Random) -> bytes:
    made = bytearray(data)
    for _ in range(pick.randint(1, MOST_CHANGES)):
        at = pick.randint(0, len(made))
        kind = pick.randrange(4)
        if kind == 0 and at < len(made):
            made[at] = pick.randrange(256)
        elif kind == 1:
            made[at:at] = pick.choice(PARTS)
        elif kind == 2:
            del made[at : at + pick.randint(1, 9)]
        else:
            other = pick.choice(corpus)
            begin = pick.randint(0, len(other))
            made[at:at] = other[begin : begin + pick.randint(1, 80)]
    return bytes(made)


def main() -> None:
    module, corpus, seconds, seed, folder = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4], sys.argv[5]
    logging.disable(logging.CRITICAL)
    try:
        import atheris
    except ImportError:
        without_coverage(module, corpus, seconds, int(seed), Path(folder))
        return
    with atheris.instrument_imports(include=INSTRUMENTED):
        target = Target(import_module(module).check, Path(folder))
    options = [f"-max_total_time={int(seconds)}", f"-seed={seed}", f"-max_len={MOST_BYTES}", "-rss_limit_mb=4000"]
    until = time.monotonic() + seconds

    def once(data: bytes) -> None:
        target(data)
        if target.executions % 500 == 0 or time.monotonic() > until - 1:
            target.tell()

    atheris.Setup([sys.argv[0], f"{folder}/new", str(corpus), *options], once)
    atheris.Fuzz()


def without_coverage(module: str, corpus: Path, seconds: float, seed: int, folder: Path) -> None:
    target, pick = Target(import_module(module).check, folder), Random(seed)
    inputs = [path.read_bytes() for path in sorted(corpus.iterdir())]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        target(changed(pick.choice(inputs), inputs, pick))
    target.tell()


if __name__ == "__main__":
    main()
