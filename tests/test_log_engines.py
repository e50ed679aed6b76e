"""A shared log on more than one engine: a cluster, and a replica that takes over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from llm_stream.testing import Gate
from llm_stream.testing import Script
from llm_stream.testing import Upstream

from .conftest import Connection
from .conftest import eventually
from .conftest import text_of
from .here import working
from .ports import free_port
from .stores import StoreServer

HALF = 8192


@pytest.fixture
def model() -> Iterator[Upstream]:
    with Upstream(lambda request: Script(("Hello",))) as upstream:
        yield upstream


def is_whole(node: StoreServer) -> bool:
    return "cluster_state:ok" in str(node.ask("CLUSTER", "INFO"))


@contextmanager
def cluster_of_two() -> Iterator[tuple[StoreServer, StoreServer]]:
    buses = [str(free_port()), str(free_port())]
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(StoreServer("Redis 7", "--cluster-enabled", "yes", "--cluster-port", bus))
            for bus in buses
        )
        first.ask("CLUSTER", "ADDSLOTSRANGE", "0", str(HALF - 1))
        second.ask("CLUSTER", "ADDSLOTSRANGE", str(HALF), str(2 * HALF - 1))
        first.ask("CLUSTER", "MEET", "127.0.0.1", str(second.port), buses[1])
        for node in (first, second):
            eventually(partial(is_whole, node), "the cluster")
        yield first, second


def test_streams_of_a_cluster_are_on_all_its_nodes_and_found_by_all_workers(model: Upstream) -> None:
    with cluster_of_two() as nodes, working(model, f"redis+cluster://127.0.0.1:{nodes[0].port}") as pair:
        started = [pair.a.post("/llm/streams", prompt="hi", key=str(n)).json() for n in range(10)]
        for stream in started:
            assert text_of(pair.b.events(stream["url"])) == "Hello"
        for node in nodes:
            assert node.ask("DBSIZE")
        again = [pair.b.post("/llm/streams", prompt="hi", key=str(n)).json() for n in range(10)]
        assert again == started
        assert len(model.requests) == 10


def test_replica_that_takes_over_has_what_runs(model: Upstream, tmp_path: Path) -> None:
    port, configuration = free_port(), tmp_path / "sentinel.conf"
    with (
        StoreServer("Redis 7") as primary,
        StoreServer("Redis 7", "--replicaof", f"127.0.0.1 {primary.port}") as replica,
    ):
        eventually(lambda: "'master_link_status': 'up'" in str(replica.ask("INFO", "replication")), "the replica")
        configuration.write_text(
            f"port {port}\nsentinel monitor ours 127.0.0.1 {primary.port} 1\n"
            "sentinel down-after-milliseconds ours 500\nsentinel failover-timeout ours 2000\n"
        )
        with StoreServer("Redis 7", sentinel=configuration, port=port) as sentinel:
            eventually(lambda: f"{replica.port}" in str(sentinel.ask("SENTINEL", "REPLICAS", "ours")), "the sentinel")
            with working(model, f"redis+sentinel://127.0.0.1:{port}/ours/0", retention_s=60) as pair:
                gate = Gate()
                _, url = pair.start("Hel", gate, "lo")
                far = Connection.get(pair.b.port, url)
                far.read_until("Hel")
                primary.kill()
                eventually(lambda: "'role': 'master'" in str(replica.ask("INFO", "replication")), "the takeover")
                gate.open()
                assert "completed" in far.read_to_end()
                eventually(lambda: pair.a.post("/llm/streams").status_code == 201, "a new stream")
                assert text_of(pair.b.events(url)) == "Hello"


def test_stream_that_a_delayed_command_has_put_back_into_a_workers_list_leaves_it_again(model: Upstream) -> None:
    with StoreServer("Valkey 9") as store, working(model, store.url(), on_disconnect="finish") as pair:
        ask = partial(store.ask, database=1)
        gate = Gate()
        model.answer("Hello", gate)
        running = pair.a.post("/llm/streams", prompt="hi").json()["id"]
        (workers_list,) = eventually(lambda: ask("KEYS", "*:running:*"), "the list")
        ask("HSET", workers_list, "feedfacefeedfacefeed", "2")
        eventually(lambda: ask("HKEYS", workers_list) == [running.encode()], "the list without it")
        gate.open()
        eventually(lambda: not ask("KEYS", "*:running:*"), "no list")
