"""deploy/kubernetes.yaml: Kubernetes accepts it, and a pod that is replaced finishes its answers within its grace."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from http.client import HTTPException
from pathlib import Path

import pytest

from llm_stream.testing import Pause
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from .conftest import Connection
from .conftest import eventually
from .databases import SQLite
from .deployed import DEPLOY
from .deployed import HEALTHZ
from .deployed import Deployed
from .deployed import checked
from .deployed import checker
from .deployed import documents
from .image import instructions
from .stores import StoreServer

DEPLOYMENT, SERVICE, BUDGET = documents("kubernetes.yaml")
POD = DEPLOYMENT["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
GRACE_S = POD["terminationGracePeriodSeconds"]
ENVIRONMENT = {variable["name"]: variable["value"] for variable in CONTAINER["env"]}


@pytest.fixture
def database(tmp_path: Path) -> SQLite:
    return SQLite(tmp_path)


@pytest.fixture
def pod(upstream: Upstream, database: SQLite, tmp_path: Path) -> Iterator[Deployed]:
    """Its container, with the values that the Secret holds."""
    with StoreServer() as store:
        secret = {"LLM_STREAM_LOG_URL": store.url(), "LLM_STREAM_LEDGER_URL": database.url}
        secret |= {"OPENAI_BASE_URL": upstream.base_url, "OPENAI_API_KEY": "none"}
        environment = {**secret, **ENVIRONMENT, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        with Deployed(CONTAINER["args"], tmp_path, environment) as server:
            yield server


class Probe:
    """A balancer's connection, which it keeps."""

    def __init__(self, server: Deployed) -> None:
        self._connection = HTTPConnection("127.0.0.1", server.port, timeout=GRACE_S)

    def status(self) -> int:
        """0 where the connection is closed or refused."""
        try:
            self._connection.request("GET", CONTAINER["readinessProbe"]["httpGet"]["path"])
            with self._connection.getresponse() as response:
                response.read()
                return response.status
        except (OSError, HTTPException):
            self._connection.close()
            return 0


def test_kubernetes_accepts_the_manifest() -> None:
    checked(checker("kubernetes-validate", "kubernetes-validate"), "--strict", str(DEPLOY / "kubernetes.yaml"))


def test_pod_that_is_replaced_finishes_what_fits_and_settles_the_rest(
    pod: Deployed, upstream: Upstream, database: SQLite
) -> None:
    upstream.answer(*[part for n in range(10) for part in (f"word{n} ", Pause(1.0))])
    upstream.answer("endless", Stall())
    fitting = Connection.get(pod.port, "/llm/chat?prompt=ten-seconds")
    fitting.read_until("word0")
    endless = Connection.get(pod.port, "/llm/chat?prompt=endless")
    endless.read_until("endless")
    probe = Probe(pod)
    assert probe.status() == 200
    with subprocess.Popen(CONTAINER["lifecycle"]["preStop"]["exec"]["command"]) as pre_stop:
        upstream.answer("late")
        assert '"text":"late"' in pod.get("/llm/chat?prompt=late").text, "the pod still answers until all have heard"
        assert pre_stop.wait(GRACE_S) == 0
    pod.process.terminate()
    rest_s = GRACE_S - float(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    eventually(lambda: probe.status() in (503, 0), "not ready")
    assert '{"status":"completed"' in fitting.read_to_end()
    assert [f"word{n}" in fitting.received.decode() for n in range(10)] == [True] * 10
    assert '"code":"interrupted"' in endless.read_to_end()
    assert pod.process.wait(rest_s) == 0, "before Kubernetes kills it"
    rows = database.rows("SELECT status FROM llm_stream_usage ORDER BY status")
    assert [row["status"] for row in rows] == ["completed", "completed", "interrupted"]


def test_grace_holds_the_pre_stop_and_the_drain() -> None:
    _, wait_s = CONTAINER["lifecycle"]["preStop"]["exec"]["command"]
    assert float(wait_s) + float(ENVIRONMENT["GRACEFUL_TIMEOUT"]) < GRACE_S


def test_probes_find_what_they_ask_for(pod: Deployed) -> None:
    (port,) = CONTAINER["ports"]
    assert port == {"name": "http", "containerPort": 8000}
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = CONTAINER[name]["httpGet"]
        assert asked["port"] == SERVICE["spec"]["ports"][0]["targetPort"] == "http"
        assert pod.get(asked["path"]).status_code == 200
    assert CONTAINER["livenessProbe"]["httpGet"]["path"] == HEALTHZ, "a restart of a draining pod would cut its answers"


def test_container_runs_the_command_of_the_image() -> None:
    found = dict(instructions((DEPLOY / "Dockerfile").read_text()))
    assert found["CMD"].replace('"', "").strip("[]").split(", ") == CONTAINER["args"]
    assert f"EXPOSE {found['EXPOSE']}" == "EXPOSE 8000"
    assert POD["securityContext"]["runAsNonRoot"]
    assert found["USER"].partition(":")[0].isdigit(), "Kubernetes cannot tell that a name is not root's"


def test_what_is_written_has_a_place_although_the_root_is_read_only() -> None:
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"]
    mounts = {mount["mountPath"]: mount["name"] for mount in CONTAINER["volumeMounts"]}
    assert CONTAINER["args"][CONTAINER["args"].index("--worker-tmp-dir") + 1] in mounts
    volumes = {volume["name"]: volume["emptyDir"] for volume in POD["volumes"]}
    assert volumes[mounts["/dev/shm"]]["medium"] == "Memory"


def test_one_label_names_the_pods() -> None:
    label = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"] == SERVICE["spec"]["selector"] == label
    assert BUDGET["spec"]["selector"]["matchLabels"] == label
