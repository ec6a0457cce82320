"""A drill of the whole: many agents at work, commits that move them, and kill -9 at random.

The ledger is kept outside of all that dies: which restarts a commit asked for, whose container
was killed, which jobs were given. Against it stand the boots and turns that the broker recorded.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import random
import signal
from dataclasses import dataclass, field

from support.proc import Process, processes
from support.swarm import Swarm

from hive_wire.rpc_errors import RpcError

MANAGER = "hm1nd"
HOST_PROCESSES = ("hive_reconciler.app.daemon", "hive_broker")
MOST_KILLS = 3  # of one container: five crashes in ten minutes are quarantine, and rightly so
JOB = """
[[rule]]
kind = "text"
from = "operator"
body = 'job (?P<n>[0-9]+)'

  [[rule.step]]
  run = "sleep 0.7"

  [[rule.step]]
  tool = "send"
  args = { to = "operator", body = "did {n}" }
"""


@dataclass(frozen=True)
class Findings:
    """What was done, and lists of what is wrong; all of them empty is the aim."""

    commits: int
    kills: dict[str, int]
    jobs: int
    boots: int
    doubled: list[str]
    needless: list[str]  # more boots than commits and kills account for
    cut: list[str]  # turns of agents that nobody killed that did not end by themselves
    not_once: list[str]  # jobs without exactly one completed turn and one answer
    left: list[str]  # what the last plan still wants

    @property
    def wrong(self) -> list[str]:
        return [*self.doubled, *self.needless, *self.cut, *self.not_once, *self.left]

    def __str__(self) -> str:
        killed = ", ".join(f"{what} {n}" for what, n in sorted(self.kills.items()))
        return (
            f"{self.commits} commits, {self.jobs} jobs, {self.boots} boots; killed: {killed}; "
            f"doubled {len(self.doubled)}, needless restarts {len(self.needless)}, "
            f"turns cut {len(self.cut)}, jobs not done once {len(self.not_once)}, "
            f"left to do {len(self.left)}"
        )


@dataclass
class Drill:
    """One run on a started swarm; the same seed makes the same choices."""

    hive: Swarm
    seed: int
    agents: int = 20
    commits: int = 50
    kills: collections.Counter[str] = field(default_factory=collections.Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._names = [f"t{n:02d}" for n in range(self.agents)]
        self._stopped: set[str] = set()
        self._asked: collections.Counter[str] = collections.Counter()  # boots that commits explain
        self._killed: collections.Counter[str] = collections.Counter()
        self._jobs: dict[int, str] = {}  # message id: whose
        self._doubled: set[str] = set()

    async def run(self) -> Findings:
        """Make the agents, then commits and kills, then peace; what came of it."""
        await self._make_agents()
        start = (await self.hive.broker("events", kinds=["ready"], limit=1000))["events"]
        before = {(e["name"], e["data"]["boot"]) for e in start}
        watcher = asyncio.create_task(self._watch_for_doubles())
        try:
            for _ in range(self.commits):
                await self._job()
                await self._commit()
                if self._random.random() < 0.5:
                    await self._kill()
            plan = await self._converged()
        finally:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
        return await self._findings(before, plan)

    # -- what is done --------------------------------------------------------------

    async def _make_agents(self) -> None:
        await self.hive.ready(MANAGER)
        await self.hive.broker("pause", uid=None, by="drill", reason="nobody talks of spawns")
        for name in self._names:
            n = (await self.hive.host("spawn", name=name, description="of the drill"))["proposal"]
            digest = (await self.hive.host("proposal", n=n))["effect"]["digest"]
            await self.hive.host("approve", n=n, effect=digest)
        (self.hive.layout.rehearsal / "agent.toml").write_text(JOB)
        for name in self._names:
            await self.hive.ready(name, timeout=120)
        await self.hive.broker("unpause", uid=None, by="drill")

    async def _job(self) -> None:
        name = self._random.choice(self._names)
        text = f"job {len(self._jobs)}"

        async def sent() -> int:
            answer = await self.hive.broker(
                "send", to=name, body=text, by="drill", key=f"drill-{text}"
            )
            return int(answer["id"])

        self._jobs[await self.hive.until(f"{text} is sent", sent)] = name

    async def _commit(self) -> None:
        name = self._random.choice(self._names)
        if name in self._stopped:
            action = "start"
            self._stopped.discard(name)
        else:
            action = self._random.choice(("restart", "restart", "stop"))
            self._stopped |= {name} if action == "stop" else set()
        self._asked[name] += action != "stop"
        wanted = await self._wish(name)

        async def merged() -> bool:
            if await self._wish(name) != wanted:
                return True  # the answer was lost with the reconciler, the merge was not
            await self.hive.host("power", agent=name, action=action)
            return True

        await self.hive.until(f"{action} {name} is merged", merged)

    async def _wish(self, name: str) -> str:
        """What the applied branch says of an agent."""
        path = f"applied:agents/{name}/agent.toml"
        process = await asyncio.create_subprocess_exec(
            *("git", "-C", str(self.hive.layout.hive_git), "rev-parse", path),
            stdout=asyncio.subprocess.PIPE,
        )
        return (await process.communicate())[0].decode()

    async def _kill(self) -> None:
        await asyncio.sleep(self._random.uniform(0, 0.5))  # anywhere in what goes on
        what = self._random.choice((*HOST_PROCESSES, "shim", "nspawn"))
        name = self._random.choice(self._names)
        if what in HOST_PROCESSES:
            with contextlib.suppress(AssertionError):  # it is not back yet
                os.kill(self.hive.pid(what), signal.SIGKILL)
                self.kills[what] += 1
            return
        if self._killed[name] == MOST_KILLS:
            return
        nspawn = next((p for p in processes() if self._is_supervisor(p, name)), None)
        if nspawn is not None:
            self._killed[name] += 1
            with contextlib.suppress(ProcessLookupError):
                os.kill(nspawn.pid if what == "nspawn" else nspawn.parent, signal.SIGKILL)
                self.kills[what] += 1

    def _is_supervisor(self, process: Process, name: str) -> bool:
        return f"--machine=h-{name}{self.hive.layout.tag}" in process.command

    # -- what came of it -----------------------------------------------------------

    async def _watch_for_doubles(self) -> None:
        while True:
            for container, n in (await asyncio.to_thread(self._live)).items():
                if n > 1:
                    self._doubled.add(f"{container}: {n} at once")
            await asyncio.sleep(0.3)

    def _live(self) -> collections.Counter[str]:
        """How many harnesses run as PID 1 in each container's group."""
        part = f"hive{self.hive.layout.tag}/"
        return collections.Counter(
            p.groups.partition(part)[2].split("/")[0].split("\n")[0]
            for p in processes()
            if p.inner_pid == 1 and p.names("hive_harness") and part in p.groups
        )

    async def _converged(self) -> list[str]:
        """Wait until all is as the commits say and every job is closed; the last plan."""
        for name in sorted(self._stopped):
            self._asked[name] += 1
            await self.hive.until(f"start {name}", lambda name=name: self._started(name))
        for name in self._names:
            await self.hive.ready(name, timeout=120)

        open_: list[str] = []

        async def settled() -> bool:
            open_[:] = await self._planned()  # who is ready may have a restart to come
            return not open_

        async def quiet() -> bool:
            agents = (await self.hive.broker("agents"))["agents"]
            open_[:] = [str(agent) for agent in agents if not _is_quiet(agent)]
            return not open_

        try:
            await self.hive.until("nothing is left to do", settled, timeout=120)
            await self.hive.until("every job is closed", quiet, timeout=120)
        except AssertionError as error:
            raise AssertionError("\n".join(("still open:", *open_, str(error)))) from None
        return await self._planned()

    async def _planned(self) -> list[str]:
        await self.hive.host("reconcile", wait=True)
        plan = await self.hive.host("plan")
        return [f"{a['kind']} {a['agent']}: {a['reason']}" for a in plan["actions"]]

    async def _started(self, name: str) -> bool:
        with contextlib.suppress(RpcError):
            await self.hive.host("power", agent=name, action="start")
        return True

    async def _findings(self, before: set[tuple[str, str]], left: list[str]) -> Findings:
        events = await self._events("ready", "turn.ended")
        boots = {(e["name"], e["data"]["boot"]) for e in events if e["kind"] == "ready"} - before
        booted = collections.Counter(name for name, _ in boots)
        ended = [(e["name"], e["data"]) for e in events if e["kind"] == "turn.ended"]
        done = collections.Counter(
            int(end["turn"].split(".")[0]) for _, end in ended if end["outcome"] == "ok"
        )
        said = collections.Counter(
            m["body"] for m in (await self.hive.broker("messages", limit=500))["messages"]
        )
        return Findings(
            commits=self.commits,
            kills=dict(self.kills),
            jobs=len(self._jobs),
            boots=len(boots),
            doubled=sorted(self._doubled),
            needless=[
                f"{name}: {n} boots for {self._asked[name]} commits, {self._killed[name]} kills"
                for name, n in booted.items()
                if n > self._asked[name] + self._killed[name]
            ],
            cut=[
                f"{name}: turn {end['turn']} {end['outcome']} {end['cause']}"
                for name, end in ended
                if name in self._names
                and not self._killed[name]
                and (end["outcome"] != "ok" or not end["turn"].endswith(".1"))
            ],
            not_once=[
                f"job {i} of {name}: {done[message]} turns, {said[f'did {i}']} answers"
                for i, (message, name) in enumerate(self._jobs.items())
                if (done[message], said[f"did {i}"]) != (1, 1)
            ],
            left=left,
        )

    async def _events(self, *kinds: str) -> list[dict]:
        found: list[dict] = []
        after = 0
        while page := (
            await self.hive.broker("events", kinds=list(kinds), after=after, limit=1000)
        )["events"]:
            found += page
            after = page[-1]["id"]
        return found


def _is_quiet(agent: dict) -> bool:
    """Whether it has nothing to do now. The manager hears of every commit, which in a long drill
    is more than its budget has turns an hour: then its mail waits, as it should."""
    if agent["turn"] is not None:
        return False
    is_used_up = agent["name"] == MANAGER and agent["detail"].startswith("budget: ")
    return agent["queued"] == 0 or is_used_up
