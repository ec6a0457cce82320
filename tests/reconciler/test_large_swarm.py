"""3,000 agents: no answer of the reconciler is too long for its frame, and nobody is left out."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock  # what these answers are not made of

import pytest

from hive_reconciler.app.host_api import HostApi
from hive_reconciler.core import view
from hive_reconciler.core.picture import Picture
from hive_reconciler.git.retired import Retired
from hive_reconciler.model.desired import Desired, Valid
from hive_reconciler.model.plan import Action, Blocked, Kind, Plan
from hive_reconciler.model.plan_text import plan_text
from hive_reconciler.runtime.base import Observed, Phase
from hive_wire.frames import MAX_FRAME, encode
from hive_wire.hivetoml import HiveToml
from hive_wire.jsonrpc import Peer
from hive_wire.pages import RETIRED, STATUS, ask_whole
from hive_wire.sockets import connect, listen
from hive_wire.spec import AgentSpec

pytestmark = pytest.mark.slow

COUNT = 3000
NAMES = [f"a{n:05d}" for n in range(COUNT)]


def uid(n: int) -> str:
    return f"{n:012x}"


class Hive:
    def __init__(self) -> None:
        self._kept = tuple(
            Retired(f"r{n}", uid(n), "was " * 50, "0" * 40, 5.0) for n in range(5000)
        )

    async def retired(self, after: str | None) -> tuple[Retired, ...]:
        return self._kept[0 if after is None else int(after, 16) + 1 :]


class World:
    """What `status` is made of; the broker's answers are counted."""

    def __init__(self, layout: Any) -> None:
        self.layout = layout
        self.runtime = SimpleNamespace(name="nspawn")
        self.rounds = SimpleNamespace(served=7)
        self.hive = Hive()
        self.asked = 0
        words = "reads the news and writes a digest"
        agents = {
            name: Valid(AgentSpec(uid=uid(n), description=words), "", "r" * 40, "t1")
            for n, name in enumerate(NAMES)
        }
        hive = HiveToml.model_validate({"schema": 1})
        self.picture = Picture(desired=Desired("0" * 40, hive, agents))
        self.picture.see(
            tuple(
                Observed(f"h-{name}", uid(n), Phase.RUNNING, "r" * 40, "k", 1000.0, None, 1, 1)
                for n, name in enumerate(NAMES)
            )
        )
        self.picture.judge({}, None)

    async def ask_broker(self) -> None:
        self.asked += 1


@pytest.fixture
async def world(layout):
    layout.make_run()
    world = World(layout)
    api = HostApi(world, Mock())  # type: ignore[arg-type]
    server = await listen(layout.host_sock, lambda: Peer(api.handlers(), on_close=api.closed))
    yield world
    server.close()


async def test_status_of_all_comes_in_pages(world):
    host = await connect(world.layout.host_sock)
    first = await host.request("status")
    assert first["next"] == first["agents"][-1]["name"] < NAMES[-1]
    assert first["agents"][0]["conditions"]

    async def ask(method: str, **params: Any) -> Any:
        return await host.request(method, params, timeout=60)

    world.asked = 0
    found = await ask_whole(ask, STATUS)
    assert [agent["name"] for agent in found["agents"]] == NAMES
    assert (found["applied"], found["round"], found["runtime"]) == ("0" * 40, 7, "nspawn")
    assert "next" not in found
    assert world.asked == 1  # the broker, for all pages
    kept = (await ask_whole(ask, RETIRED))["agents"]
    assert [agent["uid"] for agent in kept] == [uid(n) for n in range(5000)]
    host.close()


async def test_the_command_puts_the_pages_together(world):
    command = [sys.executable, "-m", "hive_reconciler.app.cli", "status"]
    root = ["--root", str(world.layout.root)]
    done = await asyncio.to_thread(
        subprocess.run, [*command, "--json", *root], capture_output=True, check=True, timeout=120
    )
    found = json.loads(done.stdout)
    assert [agent["name"] for agent in found["agents"]] == NAMES
    assert set(found) == {
        *("root", "runtime", "applied", "at", "round", "stale", "suspended", "templates"),
        *("agents", "messages"),
    }
    done = await asyncio.to_thread(
        subprocess.run, [*command, *root], capture_output=True, check=True, timeout=120, text=True
    )
    shown = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert shown >= set(NAMES)


async def test_the_manager_lists_them_in_answers_that_a_model_reads(world):
    names: list[str] = []
    answer: dict[str, Any] = {"next": ""}
    while "next" in answer:
        answer = view.agent_list(world, answer["next"])
        assert len(encode(answer)) < 64 << 10
        names += [agent["name"] for agent in answer["agents"]]
    assert names == NAMES


def test_a_plan_for_ten_thousand_fits_and_says_what_it_leaves_out():
    def one(n: int, kind: Kind) -> Action:
        return Action(kind, f"a{n}", uid(n), f"h-a{n}", "it is not there", False, None, "r" * 40)

    actions = tuple(one(n, Kind.ADOPT if n % 2 else Kind.CREATE) for n in range(10_000))
    blocked = tuple(Blocked(f"b{n}", uid(n), "Backoff", "later" * 20) for n in range(10_000))
    guard = Blocked("", "", "PruneGuard", "too many")
    found = Plan("0" * 40, actions, (*blocked, guard)).as_json()
    assert len(encode(found)) < MAX_FRAME
    assert found["changes"] == 5000
    assert found["actions"][0]["kind"] == found["actions"][-1]["kind"] == "create"
    assert found["blocked"][0]["reason"] == "PruneGuard"  # the page asks for the number
    shown = len(found["actions"]) + len(found["blocked"])
    assert found["left_out"] == 20_001 - shown > 0
    text = plan_text(found)
    assert f"{found['left_out']} more are not shown here" in text
    assert Plan("0" * 40, actions[:3]).as_json()["left_out"] == 0
