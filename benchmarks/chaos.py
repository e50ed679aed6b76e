"""Whether workers that share their streams keep what is promised while everything is killed, frozen and restarted.

    python benchmarks/chaos.py --seed 1 --minutes 20      2,000 streams
    python benchmarks/chaos.py --short                    half a minute; CI does that

Servers, engine and model are started by the run. It prints a table, and fails where there is a fault.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.chaos.report import table
from benchmarks.chaos.run import Run
from benchmarks.chaos.run import Size

STREAMS_PER_MINUTE = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ledger", help="postgresql://…; a new file of SQLite without it")
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    seconds = 12.0 if options.short else 60 * options.minutes
    size = Size(
        seed=options.seed,
        seconds=seconds,
        streams=int(seconds / 60 * (250 if options.short else STREAMS_PER_MINUTE)),
        workers=options.workers,
        trouble_every_s=2.5 if options.short else 6.0,
        longest_freeze_s=7.0 if options.short else 12.0,
        retention_s=2.0 if options.short else 8.0,
        ledger=options.ledger,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # its processes end with it
    run = Run(size)
    run.make()
    print(table(run))
    for kind, details in run.witness.faults.items():
        print(f"\n{kind}:", *details[:20], sep="\n  ")
    if run.witness.faults:
        sys.exit(f"what the servers wrote is in {run.folder}")
    shutil.rmtree(run.folder)


if __name__ == "__main__":
    main()
