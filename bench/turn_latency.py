"""From a message to the model's request: the whole swarm, the bare resident CLI, one-shot CLI.

Also cold, when the CLI does not run and resumes its conversation. The real CLI and a stand-in of the Messages API on loopback. Needs root (nspawn).
python bench/turn_latency.py [--repetitions 15]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import signal
import sys
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

WARM, COLD, ONE_SHOT = 2.0, 1.2, 1 / 8  # aims, as ratios
STDIO = Path(__file__).with_name("stdio_server.py")
REST = 0.2  # seconds for what comes after a turn, so that no variant pays for the one before
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


class ColdHive:
    """The same once the engine of the manager is gone."""

    def __init__(self, swarm: Swarm, through_hive: ThroughHive) -> None:
        self._swarm, self._warm = swarm, through_hive

    async def __call__(self) -> float:
        pid = engine_of(self._swarm).pid
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists():  # until the harness knows
            await asyncio.sleep(0.02)
        took = await self._warm()
        self._warm.stages.pop()
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


class ColdBareEngine:
    """`claude --resume` of a conversation, without anything around it."""

    def __init__(self, argv: list[str], env: Mapping[str, str], cwd: Path, api: FakeApi) -> None:
        self._argv, self._env, self._cwd, self._api = argv, env, cwd, api
        self._began = False

    async def __call__(self) -> float:
        asked = Asked(self._api)
        began = time.monotonic()
        argv = ["--resume" if word == "--session-id" else word for word in self._argv]
        async with BareEngine(argv if self._began else self._argv, self._env, self._cwd) as engine:
            engine.say(asked.text)
            took = (await asked.request()).at - began
            assert not (await engine.result())["is_error"]
            self._began = True
        return took


class OneShot:
    """A process for each message, with its tools from a process of their own."""

    def __init__(self, cli: Path, env: Mapping[str, str], cwd: Path, api: FakeApi) -> None:
        self._cli, self._env, self._cwd, self._api = cli, env, cwd, api

    async def __call__(self) -> float:
        asked = Asked(self._api)
        server = {"type": "stdio", "command": sys.executable, "args": [str(STDIO)]}
        served = {"mcpServers": {"hive": server}}
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *(str(self._cli), "-p", "--output-format", "json", "--strict-mcp-config"),
            *("--setting-sources", "", "--tools", "Bash,Read,Edit,Write,Glob,Grep"),
            *("--allowedTools", "mcp__hive", "--mcp-config", json.dumps(served)),
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


def engines_of(swarm: Swarm) -> list[Process]:
    """The engine in the manager's container, while it runs."""
    inside = descendants(containers(swarm)[MANAGER].pid, Process.all())
    return [p for p in inside if p.argv[0].endswith("/claude")]


def engine_of(swarm: Swarm) -> Process:
    (engine,) = engines_of(swarm)
    return engine


def same_flags(swarm: Swarm, cli: Path, home: Path, sock: Path) -> tuple[list[str], dict[str, str]]:
    """Command line and environment of the engine in the manager's container, moved out of it."""
    engine = engine_of(swarm)
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


def rested(variant: Callable[[], Awaitable[float]]) -> Callable[[], Awaitable[float]]:
    async def run() -> float:
        await asyncio.sleep(REST)
        return await variant()

    return run


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
        argv, env = same_flags(swarm, cli, scratch, sock)
        cold = ColdBareEngine(argv, env, scratch, api)
        variants: dict[str, Callable[[], Awaitable[float]]] = {
            "hive": through_hive,
            "bare resident engine": ThroughBareEngine(engine, api),
            "bare engine, through the gateway": ThroughBareEngine(relayed, api),
            "hive, cold": ColdHive(swarm, through_hive),
            "bare claude --resume": cold,
            "one-shot claude -p, stdio MCP": OneShot(cli, env, scratch, api),
        }
        times = await shuffled({n: rested(v) for n, v in variants.items()}, repetitions)
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
    hive, cold = spreads["hive"].median, spreads["hive, cold"].median
    resumed = spreads["bare claude --resume"].median
    one_shot = spreads["one-shot claude -p, stdio MCP"].median
    aims = [
        Aim("message to model request beside the bare resident engine", hive / bare, WARM, "x"),
        Aim("the same, cold, beside claude --resume", cold / resumed, COLD, "x"),
        Aim("beside one-shot with a stdio MCP server", hive / one_shot, ONE_SHOT, "x"),
    ]
    report("turn_latency", tables, aims, {"seconds": times, "hive_stages": stages})


if __name__ == "__main__":
    main()
