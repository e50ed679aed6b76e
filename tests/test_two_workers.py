"""The example of two servers that share their streams: it kills them, and tells what the page shows."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from .conftest import PATIENCE_S
from .conftest import ROOT
from .conftest import require
from .ports import free_port

pytestmark = [pytest.mark.nginx, pytest.mark.browser]

EXAMPLE = [sys.executable, "-u", "examples/two_workers/run.py"]
SHOW_S = 240.0


@pytest.fixture(scope="module")
def transcript() -> str:
    """What `--show` prints."""
    require("nginx", "nginx")
    require("chromium", "chromium")
    command = [*EXAMPLE, "--show", "--port", str(free_port())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SHOW_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_page_goes_on_without_a_gap_when_the_server_it_is_connected_to_is_killed(transcript: str) -> None:
    first = transcript.partition("\n2. ")[0]
    ((killed, last),) = re.findall(r"(server \d) and its worker are killed .*\n.* t(\d+) and says: Connection", first)
    ((other, after),) = re.findall(r"connected to (server \d) and goes on with t(\d+)", first)
    assert other != killed
    assert int(after) == int(last) + 1
    assert "the answer is complete: t0 … t199, each token once and in order" in first


def test_page_tells_when_the_server_that_writes_is_killed_and_gets_the_answer_from_the_other(transcript: str) -> None:
    second = transcript.partition("\n2. ")[2].partition("\n3. ")[0]
    (killed,) = re.findall(r"(server \d) and its worker are killed", second)
    (other,) = re.findall(r"(server \d) has sent the whole answer: t0 … t199", second)
    assert other != killed
    assert "says: The server failed while the answer was being written. Please try again. · about " in second


def test_ledger_has_one_row_for_each_question_and_estimates_the_lost_one(transcript: str) -> None:
    rows = re.findall(r"status (\w+) · source (\w+)", transcript.partition("\n3. ")[2])
    assert rows.count(("completed", "provider")) == 2
    assert rows.count(("interrupted", "estimated")) == 1


def test_transcript_in_the_documentation_is_what_the_example_prints(transcript: str) -> None:
    page = (ROOT / "docs/guides/several_workers.md").read_text()
    (shown,) = re.findall(
        r"^```console\n\$ python examples/two_workers/run.py --show\n(.*?)^```$", page, re.MULTILINE | re.DOTALL
    )
    assert without_figures(shown) == without_figures(transcript)


def without_figures(transcript: str) -> list[str]:
    """The lines of both cases."""
    return [re.sub(r"[\d.]+", "…", line).strip() for line in transcript.partition("\n3. ")[0].splitlines()]


@pytest.fixture
def example() -> Iterator[subprocess.Popen[str]]:
    require("nginx", "nginx")
    command = [*EXAMPLE, "--port", str(free_port())]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.terminate()  # it stops what it has started


def test_ctrl_c_stops_all_that_the_example_has_started(example: subprocess.Popen[str]) -> None:
    ports = [port for line in (read_line(example) for _ in range(3)) for port in ports_in(line)]
    assert [is_listening(port) for port in ports] == [True, True, True]
    example.send_signal(signal.SIGINT)
    assert example.wait(PATIENCE_S) == 0
    assert [is_listening(port) for port in ports] == [False, False, False]


def test_server_that_is_killed_is_started_again_and_stopped_with_the_rest(example: subprocess.Popen[str]) -> None:
    lines = [read_line(example) for _ in range(3)]
    (group,) = re.findall(r"kill -9 -- -(\d+)$", lines[1])
    os.killpg(int(group), signal.SIGKILL)
    assert read_line(example) == "server 1 has died. Restarting it.\n"
    example.terminate()  # while it starts
    assert example.wait(PATIENCE_S) == 0
    assert not any(is_listening(port) for line in lines for port in ports_in(line))


def test_what_the_machine_lacks_is_named_with_the_line_that_installs_it() -> None:
    done = subprocess.run([*EXAMPLE, "--show"], cwd=ROOT, env={"PATH": "/"}, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(r"(nginx|chromium) is missing: apt-get install \1\n", done.stderr)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def read_line(example: subprocess.Popen[str]) -> str:
    assert example.stdout
    return example.stdout.readline()


def ports_in(line: str) -> list[int]:
    return [int(port) for port in re.findall(r"http://127\.0\.0\.1:(\d+)", line)]
