"""Checks that the promises hold while connections are cut, disks fill up, and processes are killed or frozen.

    python benchmarks/chaos.py                            20 minutes; make chaos
    python benchmarks/chaos.py --short                    less than a minute; CI runs this
    python benchmarks/chaos.py --seed 7 --only worker,reset --until 40     a failed run, reduced to a few troubles

The run starts its servers, databases, nginx and the model. It prints tables, and fails if there is a fault.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.chaos import clock
from benchmarks.chaos import plan
from benchmarks.chaos import report
from benchmarks.chaos.house import HOUSES
from benchmarks.chaos.run import Run
from benchmarks.chaos.run import Size

ROOT = Path(__file__).parent.parent
STREAMS_PER_MINUTE = 20
SHORT_S = 14.0
PAGE = ROOT / "docs/reliability.md"
RESULTS = ROOT / "benchmarks/chaos.json"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--workers", type=int, default=2, help="how many workers share their streams")
    parser.add_argument("--house", choices=HOUSES, help="run only this one of the two set-ups")
    parser.add_argument("--only", default="", help="only these areas, kinds or names of troubles, separated by commas")
    parser.add_argument("--from", type=int, default=0, dest="since", help="only troubles from this number")
    parser.add_argument("--until", type=int, help="only troubles below this number")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--write", action="store_true", help="write the table into docs/reliability.md")
    return parser.parse_args()


def size_of(options: argparse.Namespace) -> Size:
    if options.short:
        pace = plan.Pace(SHORT_S, every_s=1.0, longest_freeze_s=7.0)
        return Size(options.seed, pace, int(SHORT_S * 1.5), options.workers, retention_s=2.0)
    seconds = 60 * options.minutes
    pace = plan.Pace(seconds, every_s=4.0, longest_freeze_s=12.0)
    return Size(options.seed, pace, int(options.minutes * STREAMS_PER_MINUTE), options.workers, retention_s=8.0)


async def make(runs: list[Run]) -> None:
    await asyncio.gather(*(run.make() for run in runs))


def main() -> None:
    options = parsed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # its processes end with it
    folder = Path(tempfile.mkdtemp(prefix="llm-stream-chaos-"))
    only = frozenset(name.strip() for name in options.only.split(",") if name)
    cutting = plan.Cutting(only, options.since, options.until)
    names = [options.house] if options.house else list(HOUSES)
    shim = clock.compiled(folder)
    runs = [Run(name, size_of(options), cutting, folder, shim) for name in names]
    asyncio.run(make(runs))
    found = report.figures(runs)
    print(*[report.details(run) for run in runs], report.table(found), sep="\n\n")
    if options.write:
        write(found, options.seed, options.minutes)
    if any(run.witness.faults for run in runs):
        fail(runs, cutting, folder)
    shutil.rmtree(folder)


def fail(runs: list[Run], cutting: plan.Cutting, folder: Path) -> None:
    for run in runs:
        print(f"\nthe plan of {run.name!r}, seed {run.size.seed}:\n{plan.text(run.plan, cutting)}")
    for run in runs:
        for fault in run.witness.faults:
            print(f"\n{run.name}: {fault.kind}: {fault.detail}")
    sys.exit(f"what the servers wrote is in {folder}")


def write(found: dict[str, object], seed: int, minutes: float) -> None:
    RESULTS.write_text(json.dumps({"seed": seed, "minutes": minutes} | found, indent=1, ensure_ascii=False) + "\n")
    before, rest = PAGE.read_text().split("<!-- faults -->\n")
    _, after = rest.split("<!-- end of faults -->")
    command = f"`python benchmarks/chaos.py --seed {seed} --minutes {minutes:g} --write`"
    PAGE.write_text(f"{before}<!-- faults -->\n{command}\n\n{report.table(found)}\n<!-- end of faults -->{after}")


if __name__ == "__main__":
    main()
