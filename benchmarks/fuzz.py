"""Sends random input to the library with every fuzzer in `benchmarks/fuzzing/`, and counts the outcomes.

    python benchmarks/fuzz.py --seed 1 --minutes 20             all fuzzers, each for its share of the time
    python benchmarks/fuzz.py --only http --minutes 1
    python benchmarks/fuzz.py --minutes 20 --write              also writes fuzz.json and the page on reliability

It prints a table for each fuzzer, and fails if there is a fault.
"""

from __future__ import annotations

import argparse
import json
import pkgutil
import sys
from importlib import import_module
from pathlib import Path
from time import monotonic

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import fuzzing

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs" / "reliability.md"
RESULTS = HERE / "fuzz.json"
BEGIN, END = "<!-- fuzz -->", "<!-- end of fuzz -->"

ABOUT = """\
`make fuzz` sends random input to three places. A fault is an input that broke something; each table
counts them in its last row.

The fuzzers of the last two tables are guided by coverage: they vary the inputs that reached new code. An edge is a
jump in the code that was taken. A feature is an edge with the number of times that it was taken. A body of an awkward
shape is also decoded at double length: that may take three times as long at most."""

Counts = dict[str, int | float]


def main() -> None:
    names = sorted(module.name for module in pkgutil.iter_modules(fuzzing.__path__) if not module.name.startswith("_"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--only", choices=names, action="append", help="Only this fuzzer; may be repeated.")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    chosen = options.only or names
    results = {}
    for name in chosen:
        title, counts = _run(name, 60 * options.minutes / len(chosen), options.seed)
        results[title] = counts
        print(f"{_table(title, counts)}\n", flush=True)
    if options.write:
        _write(results)
    if any(counts.get("faults") for counts in results.values()):
        sys.exit("There are faults; see above.")


def _run(name: str, seconds: float, seed: int) -> tuple[str, Counts]:
    fuzzer = import_module(f"benchmarks.fuzzing.{name}")
    begun = monotonic()
    counts = fuzzer.run(seconds, seed)
    return fuzzer.NAME, {"seed": seed, "seconds": round(monotonic() - begun), **counts}


def _table(title: str, counts: Counts) -> str:
    return "\n".join([f"| {title} | |", "|---|---|", *(f"| {name} | {value:,} |" for name, value in counts.items())])


def _write(results: dict[str, Counts]) -> None:
    """Fuzzers that did not run keep their previous counts."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results = kept | results
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    tables = "\n\n".join(_table(title, counts) for title, counts in results.items())
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{ABOUT}\n\n{tables}\n\n{END}{after}")


if __name__ == "__main__":
    main()
