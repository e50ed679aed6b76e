"""Two servers of the demo behind nginx, with one log in Valkey or Redis: `python examples/two_workers/run.py`

Each server is a gunicorn with one worker, so the two servers act as two machines. The script runs until Ctrl-C and
then stops all its processes. With `--show` it opens the page in Chromium, kills servers, and prints the page's text.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep

from cluster import Cluster
from cluster import wait_for_answer
from process import STOP_SIGNALS
from process import CannotStart
from process import Process

POLL_S = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8000, help="the page's port (8000)")
    parser.add_argument("--show", action="store_true", help="kill servers and print the page's text")
    parser.add_argument("--screenshot", type=Path, metavar="FILE", help="with --show: take a screenshot at the end")
    options = parser.parse_args()
    for number in STOP_SIGNALS:
        signal.signal(number, signal.default_int_handler)  # as on Ctrl-C
    try:
        with TemporaryDirectory(prefix="two_workers-") as folder:
            run(Path(folder), options)
    except CannotStart as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass


def run(folder: Path, options: argparse.Namespace) -> None:
    has_model = bool(os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"))
    cluster = Cluster(folder, options.port, is_scripted=options.show or not has_model)
    try:
        if options.show:
            from show import show  # needs Playwright

            show(cluster, options.screenshot)
        else:
            cluster.start()
            serve(cluster, folder)
    finally:
        cluster.stop()


def serve(cluster: Cluster, folder: Path) -> None:
    """Run until Ctrl-C. Restart a server that dies, as systemd or a container's restart policy does."""
    print(f"{cluster.url} is the page. Logs are in {folder}. Ctrl-C stops everything.")
    for server in cluster.servers:
        announce(server)
    while True:
        sleep(POLL_S)
        for server in cluster.servers:
            if not server.is_running:
                print(f"{server.name} has died. Restarting it.")
                server.start()
                wait_for_answer(server)
                announce(server)


def announce(server: Process) -> None:
    print(f"{server.name} is http://{server.address}. To kill it with its worker: kill -9 -- -{server.pid}", flush=True)


if __name__ == "__main__":
    main()
