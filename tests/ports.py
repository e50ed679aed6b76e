"""Free ports for the servers that the tests start.

A test's server binds its port some time after the test chose it. The kernel must not give the port to a connection in
between, and no other pytest process may choose it.
"""

from __future__ import annotations

import os
import random
import socket
from itertools import cycle

FIRST = 10_100
"""Browsers and Node refuse some ports, of which 10,080 is the highest: https://fetch.spec.whatwg.org/#port-blocking"""
EACH = 2_400
"""How many ports each pytest process has. Four processes stay below 20,000."""


def _of_this_process() -> range:
    """Below 32,768: from there upwards Linux gives ports to connections and to port 0."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4
    return range(FIRST + number * EACH, FIRST + (number + 1) * EACH)


_ports = cycle(_of_this_process())
for _ in range(random.randrange(EACH)):  # another run of the tests may be under way
    next(_ports)


def free_port() -> int:
    for port in _ports:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("unreachable")
