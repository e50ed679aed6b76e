"""Measures the cost of a log that all workers share, compared with the log in memory and with the nearest peer.

    python benchmarks/shared_log.py            about ten minutes; writes shared_log.json and its tables in README.md
    python benchmarks/shared_log.py --short    everything once, small: a smoke test that does not judge times

If the machine has two cores, the first server has one. The mock upstream, the load, the engine and the second server
share the other. An engine keeps everything in memory and writes nothing to disk.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import quiet
import run
import shared_report
import sharing
from engine import MISSING
from engine import engines
from shared_report import LEFT_OUT
from shared_report import Everything
from sharing import Figures
from sharing import Pair
from sharing import Size
from sharing import Way

Scenario = Callable[[Pair], Figures]

FULL = Size(
    rounds=3,
    requests=200,
    paced=((10, 50), (100, 50), (500, 50), (250, 20)),
    settle_s=1.5,
    window_s=5,
    kept=200,
    kept_tokens=(50, 500),
    followed=((10, 50), (100, 50), (500, 5)),
    resumed=1000,
    tries=3,
)
SHORT = Size(
    rounds=1,
    requests=5,
    paced=((8, 50),),
    settle_s=0.3,
    window_s=0.5,
    kept=5,
    kept_tokens=(5, 20),
    followed=((4, 50),),
    resumed=20,
)
PEER = replace(FULL, rounds=1, paced=((10, 50), (100, 50), (500, 50)), kept=40, followed=((10, 50),), resumed=100)


def ours(url: str, port: int, core: int) -> run.Server:
    server = run.servers(with_peers=False, short=True)[0]
    models = [f"bench-n{tokens}-d{delay}" for delay in (0, 20, 50, 200) for tokens in range(1, 1001)]
    environment = {
        "PORT": str(port),
        "LLM_STREAM_LOG_URL": url,
        "LLM_STREAM_MODELS": json.dumps(models),
    }
    return replace(server, port=port, core=core, environment=server.environment | environment)


def peer(application: str, url: str, port: int, core: int) -> run.Server:
    uvicorn = str(run.peer_environment("resumable") / "bin/uvicorn")
    command = [uvicorn, f"{application}:app", "--port", str(port), "--log-level", "warning"]
    environment = {"UPSTREAM": run.UPSTREAM, "REDIS": url, "PYTHONPATH": str(run.HERE / "peers")}
    return run.Server(application, command, "/chat", 300, (), environment=environment, port=port, core=core)


def ways(short: bool, with_peers: bool) -> list[Way]:
    size = SHORT if short else FULL
    found = engines()
    if not found:
        raise SystemExit(MISSING)
    first, *others = found.items()
    made = [Way("memory", ours, None, size=size)]
    made.append(Way(f"shared, {first[0]}", ours, first[1], size=size, base="memory"))
    if short:
        return made
    made += [
        Way(f"shared, {name}", ours, program, size=replace(size, rounds=1), base="memory") for name, program in others
    ]
    if with_peers:
        plain, resumable = partial(peer, "fastapi_blog"), partial(peer, "resumable")
        blog, package = "FastAPI, blog pattern", f"fastapi-resumable-stream, {first[0]}"
        made.append(Way(blog, plain, None, size=PEER, is_peer=True))
        made.append(Way(package, resumable, first[1], "/streams/%s", size=PEER, base=blog, is_peer=True))
    return made


def measure(all_ways: list[Way]) -> Everything:
    figures: Everything = {way.name: {} for way in all_ways}
    with run.tool_chain() as tools:
        for turn in range(max(way.size.rounds for way in all_ways)):
            for way in all_ways:
                if turn < way.size.rounds:
                    print(f"round {turn + 1}: {way.name}", file=sys.stderr)
                    for row, value in figures_of(way, tools):
                        figures[way.name].setdefault(row, []).append(value)
        shutil.rmtree(tools)
    return figures


def figures_of(way: Way, tools: Path) -> Iterator[tuple[str, float | None]]:
    for servers, scenarios in ((1, alone(way)), (2, shared(way))):
        if way.size.tries > 1:
            for scenario in scenarios:
                yield from undisturbed(way, servers, scenario, tools).items()
        elif scenarios:
            with sharing.serving(way, tools, servers) as pair:
                for scenario in scenarios:
                    yield from scenario(pair).items()


def undisturbed(way: Way, servers: int, scenario: Scenario, tools: Path) -> Mapping[str, float | None]:
    """Run a scenario on its own servers. Repeat it if other processes used the machine meanwhile.

    Only the other load decides which try counts, never the figures. If no try counts, the figures are None, except for
    broken answers, which always count.
    """
    broken = 0.0
    for _ in range(way.size.tries):
        quiet.wait()
        with sharing.serving(way, tools, servers) as pair:
            watch = quiet.Watch()
            figures = scenario(pair)
            others = watch.others()
        broken += figures.pop("broken answers", 0)
        if others < quiet.MOST:
            return figures | {"broken answers": broken, LEFT_OUT: 0}
    return dict.fromkeys(figures, None) | {"broken answers": broken, LEFT_OUT: 1}


def alone(way: Way) -> list[Scenario]:
    paced = [partial(sharing.paced, streams=streams, per_s=per_s) for streams, per_s in way.size.paced]
    return [sharing.request, *paced, *([sharing.kept] if way.program else [])]


def shared(way: Way) -> list[Scenario]:
    followed = [partial(sharing.follow, streams=streams, per_s=per_s) for streams, per_s in way.size.followed]
    return [*followed, sharing.resume] if way.program else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="everything once, small, without the peers")
    parser.add_argument("--no-peers", action="store_true", help="measure this project only")
    options = parser.parse_args()
    all_ways = ways(options.short, not options.short and not options.no_peers)
    everything = measure(all_ways)
    figures = shared_report.medians(everything, all_ways)
    print(shared_report.table(figures, all_ways))
    if options.short:
        print(json.dumps(figures, ensure_ascii=False))
        raise SystemExit(any(rows["broken answers"] for rows in figures.values()))
    shared_report.write(figures, everything, all_ways)


if __name__ == "__main__":
    main()
