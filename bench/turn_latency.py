"""From a message to the model's request: the whole swarm, the bare resident CLI, one-shot CLI.

The real CLI and a stand-in of the Messages API on loopback. Needs root (nspawn).
python bench/turn_latency.py [--repetitions 15]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from hive import MANAGER, Events, Process, containers, descendants, started, watching
from measure import Aim, Spread, report, shuffled, table
from resident import BareEngine
from support.claude_cli import claude_cli
from support.fake_messages_api import FakeApi, Request
from support.swarm import Swarm

LIMIT = 3.0
STAGES = ("turn.started on disk", "model request")
_numbers = itertools.count(1)


class Asked:
    """Finds the request that a text led to."""

    def __init__(self, api: FakeApi) -> None:
        self._api = api
        self._from = len(api.requests)
        self.text = f"bench line {next(_numbers)}."

    async def request(self) -> Request:
        seen = self._from
        while True:
            seen += 1
            request = await self._api.request(seen)
            if self.text in request.everything:
                return request


class ThroughHive:
    def __init__(self, swarm: Swarm, events: Events, api: FakeApi) -> None:
        self._swarm, self._events, self._api = swarm, events, api
        self.stages: list[tuple[float, float]] = []

    async def __call__(self) -> float:
        asked = Asked(self._api)
        began, wall = time.monotonic(), time.time()
        await self._swarm.broker("send", to=MANAGER, body=asked.text, by="bench")
        took = (await asked.request()).at - began
        granted = (await self._events.next("turn.started", MANAGER))["at"] - wall
        ended = await self._events.next("turn.ended", MANAGER)
        assert ended["data"]["outcome"] == "ok", ended
        self.stages.append((granted, took))
        return took


class ThroughBareEngine:
    def __init__(self, engine: BareEngine, api: FakeApi) -> None:
        self._engine, self._api = engine, api

    async def __call__(self) -> float:
        asked = Asked(self._api)
        began = time.monotonic()
        self._engine.say(asked.text)
        took = (await asked.request()).at - began
        assert not (await self._engine.result())["is_error"]
        return took


class OneShot:
    def __init__(self, cli: Path, env: Mapping[str, str], cwd: Path, api: FakeApi) -> None:
        self._cli, self._env, self._cwd, self._api = cli, env, cwd, api

    async def __call__(self) -> float:
        asked = Asked(self._api)
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *(str(self._cli), "-p", "--output-format", "json", "--strict-mcp-config"),
            *("--setting-sources", "", "--tools", "Bash,Read,Edit,Write,Glob,Grep"),
            env=dict(self._env),
            cwd=self._cwd,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
        )
        done = asyncio.create_task(process.communicate(asked.text.encode()))
        took = (await asked.request()).at - began
        await done
        assert process.returncode == 0
        return took


def same_flags(swarm: Swarm, cli: Path, home: Path, sock: Path) -> tuple[list[str], dict[str, str]]:
    """Command line and environment of the engine in the manager's container, moved out of it."""
    inside = descendants(containers(swarm)[MANAGER].pid, Process.all())
    (engine,) = [p for p in inside if p.argv[0].endswith("/claude")]
    raw = Path(f"/proc/{engine.pid}/environ").read_bytes().decode().rstrip("\0").split("\0")
    env = dict(pair.split("=", 1) for pair in raw)
    moved = {"HOME": home, "CLAUDE_CONFIG_DIR": home / ".claude", "ANTHROPIC_UNIX_SOCKET": sock}
    env.update({name: str(path) for name, path in moved.items()})
    argv = list(engine.argv)
    for flag in ("--session-id", "--resume"):
        if flag in argv:
            at = argv.index(flag)
            argv[at : at + 2] = ["--session-id", str(uuid.uuid4())]
    return [str(cli), *argv[1:]], env


def model_sock(swarm: Swarm) -> Path:
    (directory,) = swarm.layout.agents_run.iterdir()
    return directory / "model" / "model.sock"


async def run(repetitions: int) -> tuple[dict[str, list[float]], list[tuple[float, float]]]:
    cli = await asyncio.to_thread(claude_cli)
    async with FakeApi() as api, AsyncExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hive-bench-")))
        sock = scratch / "api.sock"
        await api.serve_unix(sock)
        environment = {
            "HIVE_CLAUDE": str(cli),
            "ANTHROPIC_BASE_URL": await api.serve_tcp(),
            "ANTHROPIC_API_KEY": "dummy",
        }
        swarm = await stack.enter_async_context(started("--runtime", "nspawn", env=environment))
        events = await stack.enter_async_context(watching(swarm))
        through_hive = ThroughHive(swarm, events, api)
        await through_hive()  # the engine is up now
        argv, env = same_flags(swarm, cli, scratch, sock)
        engine = await stack.enter_async_context(BareEngine(argv, env, scratch))
        argv, behind = same_flags(swarm, cli, scratch, model_sock(swarm))
        relayed = await stack.enter_async_context(BareEngine(argv, behind, scratch))
        variants: dict[str, Callable[[], Awaitable[float]]] = {
            "hive": through_hive,
            "bare resident engine": ThroughBareEngine(engine, api),
            "bare engine, through the gateway": ThroughBareEngine(relayed, api),
            "one-shot claude -p": OneShot(cli, env, scratch, api),
        }
        times = await shuffled(variants, repetitions)
        return times, through_hive.stages[2:]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--repetitions", type=int, default=15)
    times, stages = asyncio.run(run(options.parse_args().repetitions))
    spreads = {name: Spread.of(values) for name, values in times.items()}
    bare = spreads["bare resident engine"].median
    rows = [(n, s.median, s.low, s.high, s.median / bare) for n, s in spreads.items()]
    split = [Spread.of([stage[i] for stage in stages]) for i in range(len(STAGES))]
    parts = [(name, s.median, s.low, s.high) for name, s in zip(STAGES, split, strict=True)]
    tables = [
        table(("variant", "median ms", "min", "max", "ratio"), rows),
        table(("hive, since the message", "median ms", "min", "max"), parts),
    ]
    ratio = spreads["hive"].median / bare
    aim = Aim("message to model request beside the bare resident engine", ratio, LIMIT, "x")
    report("turn_latency", tables, [aim], {"seconds": times, "hive_stages": stages})


if __name__ == "__main__":
    main()
