"""How much one broker carries: parked connections, a million messages at start, memory with and
without MCP, a thousand agents that talk, and two minutes of standing still.

python bench/broker_scale.py [--only NAME]... [--minutes 5]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from measure import Aim, report, table

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.broker_rig import Harness, Rig, Tools, agent, rig

from hive_broker.store import changes
from hive_broker.store.database import open_for_writing
from hive_broker.store.highwater import Marks
from hive_broker.store.rows import NewMessage, Unit
from hive_broker.store.tables import Tables
from hive_wire.paths import Layout
from hive_wire.protocol import RegistryAgent

PARKED = 10_000
MILLION = 1_000_000
OPEN = 100_000
BATCH = 20_000
CHATTING = 1000
WITH_MCP = 100
AT_ONCE = 50  # messages that people wait for
STOPPED = 120.0
INSTALLED = {"PYTHONDONTWRITEBYTECODE": ""}  # compiled at the first start only


@dataclass
class Found:
    rows: list[tuple[str, float, str]] = field(default_factory=list)
    aims: list[Aim] = field(default_factory=list)

    def say(self, what: str, value: float, unit: str, aim: float | None = None) -> None:
        print(f"{what}: {value:.1f} {unit}", flush=True)
        self.rows.append((what, value, unit))
        if aim is not None:
            self.aims.append(Aim(what, value, aim, unit))


def memory(hive: Rig) -> float:
    """MiB that are resident."""
    assert hive.process is not None
    status = Path(f"/proc/{hive.process.pid}/status").read_text()
    return next(int(x.split()[1]) / 1024 for x in status.splitlines() if x.startswith("VmRSS"))


def agents(count: int) -> list[dict[str, Any]]:
    return [agent(f"{n:012d}", f"a{n}") for n in range(count)]


@asynccontextmanager
async def broker(count: int = 1) -> AsyncIterator[Rig]:
    with tempfile.TemporaryDirectory(prefix="hive-bench-", dir="/var/tmp") as scratch:
        async with rig(Path(scratch), INSTALLED) as hive:
            await hive.registry(*agents(count))
            yield hive


# -- connections and memory ----------------------------------------------------------


async def parked(found: Found) -> None:
    async with broker() as hive:
        scout = await hive.harness("0" * 12)
        found.say("memory, one agent, no MCP", memory(hive), "MiB", 45)
        for _ in range(PARKED):
            await hive.client()
        found.say(f"memory with {PARKED} parked connections", memory(hive), "MiB", 50 / 1.048576)
        times = []
        for n in range(100):
            began = time.monotonic()
            asked = asyncio.ensure_future(hive.ask("send", to="a0", body=f"{n}", by="bench"))
            turn = (await scout.granted())["turn"]
            times.append(time.monotonic() - began)
            await asked
            await scout.end(turn)
        found.say("send to grant among them, p50", statistics.median(times) * 1000, "ms")


async def mcp(found: Found) -> None:
    async with broker(WITH_MCP) as hive:
        tools = [await hive.tools(f"{n:012d}") for n in range(WITH_MCP)]
        await asyncio.gather(*(t.call("send", to="operator", body="hello") for t in tools))
        found.say(f"memory with {WITH_MCP} agents that use MCP", memory(hive), "MiB", 110)


# -- a million messages ----------------------------------------------------------------


def fill(path: Path) -> None:
    """A million messages to a hundred agents; the last hundred thousand wait."""
    path.parent.mkdir(parents=True)
    db = open_for_writing(path)
    for record in agents(100):
        db.execute(*changes.set_agent(RegistryAgent.model_validate(record)))
    tables = Tables(db, Marks(), {})
    for first in range(1, MILLION + 1, BATCH):
        tables.commit([Unit(messages=(_message(n),)) for n in range(first, first + BATCH)])
    db.execute("update delivery set state=2 where message <= ?", (MILLION - OPEN,))
    db.execute("pragma wal_checkpoint(truncate)").fetchall()
    db.close()


def _message(n: int) -> NewMessage:
    return NewMessage(
        id=n,
        sender="operator",
        sender_name="operator",
        to=f"a{n % 100}",
        kind="text",
        body="y" * 500,
        thread=n,
        at=1.7e9 + n,
        recipients=(f"{n % 100:012d}",),
        key=f"k{n}",
    )


async def million(found: Found) -> None:
    with tempfile.TemporaryDirectory(prefix="hive-bench-", dir="/var/tmp") as scratch:
        await asyncio.to_thread(fill, Layout.of(Path(scratch)).broker / "broker.db")
        hive, times = Rig(Path(scratch), INSTALLED), []
        try:
            for _ in range(5):
                began = time.monotonic()
                await hive.start()
                assert (await hive.ask("status"))["open"] == OPEN
                times.append(time.monotonic() - began)
                found_memory = memory(hive)
                await hive.kill()
        finally:
            await hive.close()
    found.say("start with a million messages, best of 5", min(times), "s", 0.5)
    found.say("start with a million messages, median", statistics.median(times), "s")
    found.say(f"memory with a million messages, {OPEN} of them open", found_memory, "MiB")


# -- a thousand agents -----------------------------------------------------------------


@dataclass
class Chat:
    """What was sent, when; what came; and how long it took."""

    sent: dict[str, float] = field(default_factory=dict)
    took: list[float] = field(default_factory=list)
    doubled: int = 0

    def came(self, body: str) -> None:
        at = self.sent.pop(body, None)
        if at is None:
            self.doubled += 1
        else:
            self.took.append(time.monotonic() - at)


async def chatter(found: Found, minutes: float) -> None:
    """People write to agents without end; each such message makes its agent write to another."""
    chat, over = Chat(), asyncio.Event()
    async with broker(CHATTING) as hive:
        harnesses = [await hive.harness(f"{n:012d}") for n in range(CHATTING)]
        tools = [await hive.tools(f"{n:012d}") for n in range(CHATTING)]
        pairs = list(zip(harnesses, tools, strict=True))
        living = [asyncio.create_task(live(h, t, chat)) for h, t in pairs]
        people = [asyncio.create_task(person(hive, n, chat, over)) for n in range(AT_ONCE)]
        await asyncio.sleep(minutes * 60)
        over.set()
        await asyncio.gather(*people)
        async with asyncio.timeout(60):
            while chat.sent and not any(task.done() for task in living):
                await asyncio.sleep(0.05)
        used = memory(hive)
        for task in living:
            task.cancel()
        await asyncio.gather(*living, return_exceptions=True)
    took = sorted(chat.took)
    found.say(f"{CHATTING} agents for {minutes:g} minutes: messages", len(took), "")
    found.say("messages and turns a second", len(took) / (minutes * 60), "/s")
    found.say("send to grant, p50", took[len(took) // 2] * 1000, "ms")
    found.say("send to grant, p99", took[len(took) * 99 // 100] * 1000, "ms")
    found.say("memory afterwards", used, "MiB")
    found.say("lost", len(chat.sent), "messages", 0)
    found.say("delivered twice", chat.doubled, "messages", 0)


async def person(hive: Rig, number: int, chat: Chat, over: asyncio.Event) -> None:
    count = 0
    while not over.is_set():
        count += 1
        body = f"ask {number} {count}"
        chat.sent[body] = time.monotonic()
        await hive.ask("send", to=f"a{random.randrange(CHATTING)}", body=body, by="bench")
        while body in chat.sent:
            await asyncio.sleep(0.01)


async def live(harness: Harness, tools: Tools, chat: Chat) -> None:
    while True:
        grant = await harness.grants.get()
        turn, body = grant["turn"], grant["message"]["body"]
        chat.came(body)
        if body.startswith("ask"):
            answer = f"tell {turn} {body}"
            to = f"a{random.randrange(CHATTING)}"
            if to != grant["message"]["to"]:
                chat.sent[answer] = time.monotonic()
                await tools.call("send", f"{turn}:1", to=to, body=answer)
        await harness.end(turn)


# -- standing still ----------------------------------------------------------------------


async def stopped(found: Found) -> None:
    """SIGSTOP: senders wait, and what they had asked for is done once it goes on."""
    async with broker() as hive:
        assert hive.process is not None
        scout = await hive.harness("0" * 12)
        first = await hive.ask("send", to="a0", body="first", by="bench")
        turn = (await scout.granted())["turn"]
        hive.process.send_signal(signal.SIGSTOP)
        peer = hive.host
        asked = [
            asyncio.ensure_future(
                peer.request("send", {"to": "a0", "body": f"{n}", "by": "bench", "key": f"{n}"})
            )
            for n in range(20)
        ]
        ending = asyncio.ensure_future(
            scout.peer.request("turn.end", {"turn": turn, "outcome": "ok"})
        )
        await asyncio.sleep(STOPPED)
        hive.process.send_signal(signal.SIGCONT)
        ids = [first["id"], *(sent["id"] for sent in await asyncio.gather(*asked))]
        await ending
        done = [first["id"]]
        for _ in asked:
            granted = (await scout.granted())["turn"]
            done.append(int(granted.partition(".")[0]))
            await scout.end(granted)
    found.say(
        f"stopped for {STOPPED:g} s: messages lost, doubled or out of order",
        sum(a != b for a, b in zip(done, ids, strict=True)),
        "messages",
        0,
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", action="append")
    options.add_argument("--minutes", type=float, default=5)
    chosen = options.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    parts: dict[str, Callable[[Found], Awaitable[None]]] = {
        "parked": parked,
        "mcp": mcp,
        "million": million,
        "chatter": lambda found: chatter(found, chosen.minutes),
        "stopped": stopped,
    }
    found = Found()
    for name, part in parts.items():
        if chosen.only is None or name in chosen.only:
            uvloop.run(part(found))  # type: ignore[arg-type]
    report(
        "broker_scale",
        [table(("what", "value", "unit"), found.rows)],
        found.aims,
        {"rows": found.rows},
    )


if __name__ == "__main__":
    main()
