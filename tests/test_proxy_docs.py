"""What the pages on proxies and reliability say beside what tests/test_proxies.py runs."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server

from .conftest import ROOT
from .proxies import KINDS
from .proxies import PAGE
from .proxies import Proxies
from .proxies import files_of
from .reading import Http1
from .reading import Http2

PASSED_ON = ("HTTP_HOST", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO")


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that answers with what a proxy passes on."""

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps([environ.get(name) for name in PASSED_ON]).encode()]

    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.proxies
@pytest.mark.parametrize("name", KINDS)
def test_name_of_the_site_and_address_of_the_client_are_passed_on(name: str, echo: int, tmp_path: Path) -> None:
    proxies = Proxies(tmp_path)
    with proxies.stopping_again():
        port = proxies.start(name, echo)
        for client in (Http1, Http2):
            reading = client(port, "/", proxies.context)
            host, address, scheme = json.loads(reading.read_to_end())
            reading.close()
            assert (host, scheme) == (f"127.0.0.1:{port}", "https")
            assert address == "127.0.0.1" or (
                name == "Envoy" and address
            )  # which puts the machine's address for loopback


def test_page_has_a_configuration_for_each_proxy_and_no_other() -> None:
    sections = re.findall(r"^## (.*)$", PAGE.read_text(), re.MULTILINE)
    assert sections == list(KINDS)
    assert sum(len(files_of(name)) for name in sections) == PAGE.read_text().count("\n```") / 2


def test_table_of_what_was_measured_says_what_the_tests_say() -> None:
    (table,) = re.findall(r"^\| proxy .*?\n\n", (ROOT / "docs/reliability.md").read_text(), re.MULTILINE | re.DOTALL)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]
    assert [row[0].split()[0] for row in rows] == list(KINDS)
    for name, row in zip(KINDS, rows, strict=True):
        assert row[3].startswith("yes" if KINDS[name].compresses else "no")
        page = "".join(files_of(name).values())
        assert all(setting in page for setting in re.findall("`([^`]*)`", row[-1])), name
