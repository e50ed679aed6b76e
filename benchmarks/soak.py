"""Checks that a worker which was busy for half an hour holds no more memory and objects than a new worker.

    make soak                                      30 minutes, 500 paced streams, 1,000 slow readers
    python benchmarks/soak.py --minutes 5 --streams 100 --slow 200
    python benchmarks/soak.py --short              half a minute; CI runs this

It prints a table, and fails if an answer was wrong or a quantity did not return to its initial value. The long run also
writes soak.json, the table of docs/reliability.md and docs/pictures/soak.svg.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.soak import judge
from benchmarks.soak import report
from benchmarks.soak.course import Course
from benchmarks.soak.course import Size

SHORT = Size(seconds=6, streams=20, slow=20, tokens=50, window_s=1, send_timeout_s=3, retention_s=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--streams", type=int, default=500, help="streams that run at all times")
    parser.add_argument("--slow", type=int, default=1000, help="readers that read slowly or not at all")
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    long = Size(
        seconds=60 * options.minutes,
        streams=options.streams,
        slow=options.slow,
        tokens=500,
        window_s=10,
        send_timeout_s=30,
        retention_s=120,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # its processes end with it
    course = Course(SHORT if options.short else long)
    course.make()
    faults = judge.faults(course)
    print(report.table(course))
    if not options.short:
        report.write(course)
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
