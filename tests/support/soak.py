"""Many turns of the real CLI while its model's API misbehaves and processes are killed with -9.

The jobs and the stand-in of the API are outside of all that dies: against them stand the turns,
answers and costs that the broker has on disk in the end.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import random
import re
import signal
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.fake_messages_api import Call, FakeApi, Request, Step
from support.proc import Process, processes
from support.swarm import Swarm

from hive_harness import wake

INPUT, OUTPUT = 1000, 100  # tokens of each answer
FAULTS: tuple[dict[str, Any], ...] = (
    {"status": 529},
    {"status": 500},
    {"status": 503},
    {"status": 429, "headers": {"retry-after": "1"}},
    {"status": 400},
    {"status": 401},
    {"fault": "disconnect"},
    {"fault": "truncate"},
    {"fault": "malformed"},
    {"fault": "sse_error"},
)
# What a cut turn leaves running would still be there in the end.
COMMAND = "sleep 3333 & pid=$!; sleep 0.3; kill $pid"
HOST = {"broker": "hive_broker", "gateway": "hive_gateway"}
VICTIMS = (*HOST, "engine", "engine", "engine", "harness", "container")
MOST_CRASHES = 3  # of one container in CRASH_WINDOW; five are quarantine, and rightly so
CRASH_WINDOW = 630.0  # seconds
LONGEST_REST = 600.0  # seconds without a request: nothing goes on any more
BUDGET = {"budget.usd_per_day": 50.0, "budget.turns_per_hour": 10_000}
JOB = re.compile(r"job (\d+)")


class Model:
    """Sometimes runs a command, answers the operator once a job, then ends the turn."""

    def __init__(self, seed: int, faults: float) -> None:
        self._seed, self._share = seed, faults
        self.faults: collections.Counter[str] = collections.Counter()
        self.whole = 0  # answers without a fault

    def __call__(self, request: Request) -> Step:
        dice = random.Random(f"{self._seed}.{request.n}")
        if dice.random() < self._share:
            fault = dice.choice(FAULTS)
            self.faults[str(fault.get("status") or fault["fault"])] += 1
            return Step(text="cut", usage=_USAGE, **fault)
        self.whole += 1
        return self._work(request)

    def _work(self, request: Request) -> Step:
        job, ran, told = _history(request)
        if job is None or job in told:
            return Step(text="done", usage=_USAGE)
        if not ran and random.Random(f"{self._seed} {job}").random() < 0.4:
            return Step(calls=(Call("Bash", {"command": COMMAND}),), usage=_USAGE)
        answer = {"to": "operator", "body": f"did {job}"}
        return Step(calls=(Call("mcp__hive__send", answer),), usage=_USAGE)


_USAGE = {"input_tokens": INPUT, "output_tokens": OUTPUT}


def _history(request: Request) -> tuple[str | None, bool, set[str]]:
    """The last job, whether its command ran, and the jobs whose answer was sent."""
    job, ran, told = None, False, set[str]()
    calls: dict[str, dict[str, Any]] = {}
    for message in request.body.get("messages") or ():
        content = message["content"]
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            if block["type"] == "tool_use":
                calls[block["id"]] = block
            elif block["type"] == "tool_result" and not block.get("is_error"):
                call = calls.get(block["tool_use_id"], {"name": "", "input": {}})
                ran = ran or call["name"] == "Bash"
                told |= set(JOB.findall(str(call["input"].get("body")).replace("did", "job")))
            elif block["type"] == "text" and "[hive] message " in block["text"]:
                text = block["text"]
                woken = wake.read(text[text.index("[hive] message ") :])
                found = JOB.search(woken.body) if woken else None
                job, ran = found[1] if found else None, False
    return job, ran, told


@dataclass(frozen=True)
class Findings:
    """What was done and used, and lists of what is wrong; all of them empty is the aim."""

    jobs: int
    attempts: int
    seconds: float
    kills: dict[str, int]
    faults: dict[str, int]
    served: int  # tokens of all answers that the API began
    undoubted: int  # of those that it gave without a fault
    metered: int  # tokens as the gateway counted
    claimed: int  # tokens as the harnesses claimed
    excusable: int  # tokens of answers that a kill may have cut or kept from being counted
    peaks: dict[str, float]  # MiB of resident memory by kind of process
    not_once: list[str]
    leaked: list[str]
    stayed: list[str]  # after the swarm was stopped

    @property
    def costs_wrong(self) -> list[str]:
        wrong = []
        if not self.undoubted - self.excusable <= self.metered <= self.served:
            wrong.append(f"the gateway counted {self.metered} tokens")
        if self.claimed > self.served:
            wrong.append(f"the harnesses claimed {self.claimed} tokens")
        if wrong:
            wrong.append(f"served: {self.undoubted} to {self.served}, {self.excusable} excusable")
        return wrong

    @property
    def wrong(self) -> list[str]:
        return [*self.not_once, *self.costs_wrong, *self.leaked, *self.stayed]


def not_once(
    messages: Mapping[int, int], done: Mapping[int, int], said: Mapping[str, int]
) -> list[str]:
    """Jobs without exactly one completed turn and one answer. `messages`: job to message id,
    `done`: message id to completed turns, `said`: body to answers."""
    counts = {
        job: (done.get(message, 0), said.get(f"did {job}", 0)) for job, message in messages.items()
    }
    return [
        f"job {job}: {turns} completed turns, {answers} answers"
        for job, (turns, answers) in counts.items()
        if (turns, answers) != (1, 1)
    ]


@dataclass
class Soak:
    """One run on a started swarm; `every` is the mean of the answers between two kills:
    nothing is killed faster than work goes on."""

    hive: Swarm
    api: FakeApi
    model: Model
    seed: int
    jobs: int
    every: int
    agents: int = 3
    kills: collections.Counter[str] = field(default_factory=collections.Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._names = [f"s{n}" for n in range(self.agents)]
        self._crashes: dict[str, list[float]] = collections.defaultdict(list)
        self._peaks: dict[str, float] = {}
        self._messages: dict[int, int] = {}  # job: message id

    async def run(self, timeout: float) -> Findings:
        """Make the agents, give the jobs, kill until they are done; stop. `timeout` in seconds."""
        await self._make_agents()
        began = time.monotonic()
        for job in range(self.jobs):
            to = self._names[job % self.agents]
            sent = await self.hive.broker(
                "send", to=to, body=f"job {job}", by="soak", key=f"soak-{job}"
            )
            self._messages[job] = sent["id"]
        killer = asyncio.create_task(self._kill_on())
        try:
            await self.hive.until("every job is closed", self._closed, timeout)
        finally:
            killer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await killer
        took = time.monotonic() - began
        await self.hive.until("all agents are at rest", self._closed, 60)
        await self.hive.until("the gateway told all that it counted", self._told, 30)
        await asyncio.to_thread(self._look)
        leaked = await asyncio.to_thread(self._leaked)
        ended, said = await self._ended(), await self._said()
        assert await self.hive.stop() == 0
        await self.hive.cli("down", check=None)
        return self._findings(took, ended, said, leaked)

    async def _make_agents(self) -> None:
        await self.hive.ready("hm1nd")
        for name in self._names:
            wish = {"name": name, "description": "of the soak", "settings": BUDGET}
            made = await self.hive.host("spawn", **wish)
            assert made["state"] == "open", made
            n = made["proposal"]
            digest = (await self.hive.host("proposal", n=n))["effect"]["digest"]
            await self.hive.host("approve", n=n, effect=digest)
        for name in self._names:
            await self.hive.ready(name, timeout=120)

    async def _closed(self) -> bool:
        agents = (await self.hive.broker("agents"))["agents"]
        return all(a["queued"] == 0 and a["turn"] is None for a in agents)

    async def _told(self) -> bool:
        """Whether what the gateway keeps for the broker is empty."""
        kept = await asyncio.to_thread((self.hive.layout.gateway / "usage.json").read_text)
        return '"sent":[],"unsent":{}' in kept

    # -- kills -------------------------------------------------------------------

    async def _kill_on(self) -> None:
        while True:
            wanted = len(self.api.requests) + self._random.randint(1, 2 * self.every - 1)
            await self.api.request(wanted, timeout=LONGEST_REST)
            await asyncio.sleep(self._random.uniform(0, 1.5))  # anywhere in what comes of it
            what, name = self._random.choice(VICTIMS), self._random.choice(self._names)
            await asyncio.to_thread(self._look)
            await asyncio.to_thread(self._kill, what, name)

    def _kill(self, what: str, name: str) -> None:
        if what in ("harness", "container"):
            now = time.monotonic()
            recent = [at for at in self._crashes[name] if now - at < CRASH_WINDOW]
            if len(recent) >= MOST_CRASHES:
                what = "engine"
        victim = next((p for p in processes() if self._is(p, what, name)), None)
        if victim is None:
            return
        if what in ("harness", "container"):
            self._crashes[name].append(time.monotonic())
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim.pid, signal.SIGKILL)
            self.kills[what] += 1

    def _is(self, process: Process, what: str, name: str) -> bool:
        if what in HOST:
            return process.names(HOST[what], str(self.hive.root))
        if what == "container":
            return f"--machine=h-{name}{self.hive.layout.tag}" in process.command
        inside = f"hive{self.hive.layout.tag}/h-{name}" in process.groups
        return inside and _kind(process) == what

    def _look(self) -> None:
        """Note the most memory that each process ever had."""
        mine = f"hive{self.hive.layout.tag}/"
        for process in processes():
            what = next((w for w, m in HOST.items() if process.names(m, str(self.hive.root))), None)
            if what is None and mine in process.groups:
                what = _kind(process)
            if what:
                with contextlib.suppress(OSError, StopIteration):
                    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                    high = next(line for line in lines if line.startswith("VmHWM"))
                    mebibytes = int(high.split()[1]) / 1024
                    self._peaks[what] = max(mebibytes, self._peaks.get(what, 0.0))

    # -- what came of it -----------------------------------------------------------

    def _leaked(self) -> list[str]:
        """Processes in containers beside one harness and one engine each."""
        part = f"hive{self.hive.layout.tag}/"
        inside = [p for p in processes() if part in p.groups and p.inner_pid != p.pid]
        counts = collections.Counter((p.groups, _kind(p)) for p in inside if _kind(p))
        twice = [f"{n} × {kind} at rest" for (_, kind), n in counts.items() if n > 1]
        return [*twice, *(f"runs at rest: {p.command}" for p in inside if not _kind(p))]

    async def _ended(self) -> list[dict[str, Any]]:
        found, after = list[dict[str, Any]](), 0
        while True:
            page = await self.hive.broker("events", kinds=["turn.ended"], after=after, limit=1000)
            if not page["events"]:
                return found
            found += page["events"]
            after = page["events"][-1]["id"]

    async def _said(self) -> collections.Counter[str]:
        said, after = collections.Counter[str](), 0
        while page := (await self.hive.broker("inbox", after=after, limit=500))["messages"]:
            said.update(m["body"] for m in page)
            after = page[-1]["id"]
        return said

    def _findings(
        self,
        seconds: float,
        ended: list[dict[str, Any]],
        said: collections.Counter[str],
        leaked: list[str],
    ) -> Findings:
        turns = [e["data"] for e in ended if e["name"] in self._names]
        done = collections.Counter(
            int(end["turn"].split(".")[0]) for end in turns if end["outcome"] == "ok"
        )
        database = self.hive.layout.broker / "broker.db"
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
            total = "select coalesce(sum(input_tokens + output_tokens), 0) from "
            (metered,) = db.execute(total + "metered").fetchone()
            (claimed,) = db.execute(total + "turn").fetchone()
        # A gateway loses what passes through it; any other kill cuts one answer.
        cut = sum(self.kills.values()) + self.kills["gateway"] * self.agents
        return Findings(
            jobs=self.jobs,
            attempts=len(turns),
            seconds=seconds,
            kills=dict(self.kills),
            faults=dict(self.model.faults),
            served=sum(self.api.ledger.values()),
            undoubted=self.model.whole * (INPUT + OUTPUT),
            metered=metered,
            claimed=claimed,
            excusable=cut * (INPUT + OUTPUT),
            peaks=self._peaks,
            not_once=not_once(self._messages, done, said),
            leaked=leaked,
            stayed=[
                f"runs after the stop: {p.command}"
                for p in processes()
                if f"hive{self.hive.layout.tag}/" in p.groups or str(self.hive.root) in p.command
            ],
        )


def _kind(process: Process) -> str:
    if process.command[0].endswith("/claude"):
        return "engine"
    return "harness" if process.inner_pid == 1 and process.names("hive_harness") else ""
