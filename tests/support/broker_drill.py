"""The kill -9 drill: senders, harnesses and the broker die at random; a ledger watches.

The ledger is outside of everything that dies. What it must find in the end: each
acknowledged message stored once, its turn completed once, first attempts in order.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from support.broker_rig import Rig, agent, until
from support.drill_player import Part, Spool

HERE = Path(__file__).parent.parent


@dataclass(frozen=True)
class Findings:
    """What the ledger, the messages and the history say together. The lists are what is
    wrong; `unfinished` was acknowledged and stored, and no turn ever closed it."""

    acknowledged: int
    turns: int
    broker_kills: int
    harness_kills: int
    sender_kills: int
    lost: list[str]
    stored_twice: list[str]
    completed_twice: list[str]
    unfinished: list[str]
    out_of_order: list[str]

    @property
    def clean(self) -> bool:
        wrong = (self.lost, self.stored_twice, self.completed_twice, self.unfinished)
        return not any(wrong) and not self.out_of_order

    def __str__(self) -> str:
        return (
            f"acknowledged {self.acknowledged}, lost {len(self.lost)}, "
            f"stored twice {len(self.stored_twice)}, "
            f"completed twice {len(self.completed_twice)}, unfinished {len(self.unfinished)}, "
            f"out of order {len(self.out_of_order)}; killed: broker {self.broker_kills}, "
            f"harnesses {self.harness_kills}, senders {self.sender_kills}; turns {self.turns}"
        )


class Drill:
    """`run` it once. `directory` holds the ledger and what harnesses have on disk."""

    def __init__(self, rig: Rig, directory: Path, *, agents: int = 6, senders: int = 3) -> None:
        self.rig, self.directory = rig, directory
        names = [f"p{n}" for n in range(agents)]

        def part(name: str, uid: str) -> Part:
            others = tuple(other for other in names if other != name)
            return Part(name, uid, str(rig.layout.root), str(directory), others)

        self.players = [part(name, f"{n:012d}") for n, name in enumerate(names)]
        self.senders = [part(f"ann{n}", "") for n in range(senders)]
        self.kills: collections.Counter[str] = collections.Counter()
        self._pids: dict[str, int] = {}
        self._mother: asyncio.subprocess.Process

    async def run(self, seconds: float) -> Findings:
        """Chaos for `seconds`, then peace until every message is done with."""
        self.directory.mkdir(parents=True, exist_ok=True)
        await self.rig.registry(*(agent(p.uid, p.name) for p in self.players))
        async with self._processes():
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                await asyncio.sleep(random.uniform(0.05, 0.25))
                await self._kill_something()
            (self.directory / "over").touch()
            await until(self._all_done, "every message is done with", timeout=120)
        return await self._findings()

    # -- chaos -------------------------------------------------------------------

    async def _kill_something(self) -> None:
        what = random.choices(("broker", "harness", "sender"), (12, 68, 20))[0]
        self.kills[what] += 1
        if what == "broker":
            await self.rig.kill()
            await self.rig.start()
        else:
            part = random.choice(self.players if what == "harness" else self.senders)
            await self._kill(self._pids[part.name])
            await self._start(part)

    @asynccontextmanager
    async def _processes(self) -> AsyncIterator[None]:
        self._mother = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "support.drill_player"),
            cwd=HERE,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            for part in (*self.players, *self.senders):
                await self._start(part)
            yield
        finally:
            for pid in self._pids.values():
                await self._kill(pid)
            self._mother.kill()
            await self._mother.wait()

    async def _start(self, part: Part) -> None:
        assert self._mother.stdin is not None
        assert self._mother.stdout is not None
        self._mother.stdin.write(json.dumps(asdict(part)).encode() + b"\n")
        self._pids[part.name] = int(await self._mother.stdout.readline())

    @staticmethod
    async def _kill(pid: int) -> None:
        """And wait until it is gone: its file belongs to its successor now."""
        with contextlib.suppress(ProcessLookupError):
            while True:
                os.kill(pid, signal.SIGKILL)
                await asyncio.sleep(0.001)

    async def _all_done(self) -> bool:
        await asyncio.sleep(0.05)
        spools = [Spool(**json.loads(p.file.read_text())) for p in self.players if p.file.exists()]
        at_rest = all(spool.running is None and not spool.ended for spool in spools)
        return at_rest and (await self.rig.ask("status"))["open"] == 0

    # -- the ledger --------------------------------------------------------------

    async def _findings(self) -> Findings:
        stored = await self._all("messages")
        ended = await self._all("events", kinds=["turn.ended"])
        acknowledged: dict[str, int] = {}
        completed: dict[tuple[str, int], set[str]] = collections.defaultdict(set)
        granted: dict[str, list[int]] = collections.defaultdict(list)
        for line in (self.directory / "ledger").read_text().splitlines():
            entry = json.loads(line)
            if "acknowledged" in entry:
                acknowledged[entry["acknowledged"]] = entry["id"]
            elif "completed" in entry:
                for message in entry["completed"]:
                    completed[entry["by"], message].add(entry["turn"])
            else:
                message, attempt = map(int, entry["granted"].split("."))
                if attempt == 1 and message not in granted[entry["to"]][-1:]:
                    granted[entry["to"]].append(message)
        for event in ended:  # what the broker itself says of it
            if event["data"]["outcome"] == "ok":
                turn = event["data"]["turn"]
                completed[event["name"], int(turn.split(".")[0])].add(turn)
        ids = {message["body"]: message["id"] for message in stored}
        times = collections.Counter(message["body"] for message in stored)
        ends = collections.Counter((e["name"], e["data"]["turn"]) for e in ended)
        return Findings(
            acknowledged=len(acknowledged),
            turns=len(ended),
            broker_kills=self.kills["broker"],
            harness_kills=self.kills["harness"],
            sender_kills=self.kills["sender"],
            lost=[body for body, ident in acknowledged.items() if ids.get(body) != ident],
            stored_twice=[body for body, n in times.items() if n > 1],
            completed_twice=[
                f"{who} {m}" for (who, m), turns in completed.items() if len(turns) > 1
            ]
            + [f"{who} {turn}" for (who, turn), n in ends.items() if n > 1],
            unfinished=[m["body"] for m in stored if (m["to"], m["id"]) not in completed],
            out_of_order=[
                f"{who}: {later} before {earlier}"
                for who, order in granted.items()
                for later, earlier in itertools.pairwise(order)
                if later > earlier
            ],
        )

    async def _all(self, method: str, **wanted: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        while page := await self.rig.ask(
            method, after=rows[-1]["id"] if rows else 0, limit=500, **wanted
        ):
            if not page[method]:
                return rows
            rows += page[method]
        return rows
