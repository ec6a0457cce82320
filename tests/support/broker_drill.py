"""The kill -9 drill: senders, harnesses and the broker die at random; a ledger watches.

The ledger is outside of everything that dies. What it must find in the end: each
acknowledged message stored once, its turn completed once, first attempts in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
import uuid
from dataclasses import dataclass, field

from support.broker_rig import Harness, Rig, ToolFailed, Tools, agent, until

from hive_wire.jsonrpc import PeerGone, RpcError

GONE = (PeerGone, OSError, TimeoutError, EOFError)


@dataclass
class Ledger:
    """What happened, as people would see it from outside."""

    acknowledged: dict[str, int] = field(default_factory=dict)  # body to message id
    completed: dict[tuple[str, int], int] = field(default_factory=dict)  # (agent, message): times
    first_granted: dict[str, list[int]] = field(default_factory=dict)
    broker_kills: int = 0
    harness_kills: int = 0
    turns: int = 0

    def granted(self, name: str, turn: str) -> None:
        message, attempt = map(int, turn.split("."))
        order = self.first_granted.setdefault(name, [])
        if attempt == 1 and message not in order:
            order.append(message)


@dataclass
class Spool:
    """What one harness has on its disk: it outlives the harness."""

    running: str | None = None
    running_before: str = ""
    ended: dict[str, dict] = field(default_factory=dict)
    taken: list[int] = field(default_factory=list)  # messages that recv gave to this turn
    handed: list[str] = field(default_factory=list)
    sends: list[tuple[str, str]] = field(default_factory=list)  # of this turn: (to, body)
    calls: int = 0


class Player:
    """One agent: its harness, which dies, and its spool, which does not."""

    def __init__(self, drill: Drill, uid: str, name: str) -> None:
        self.drill, self.uid, self.name = drill, uid, name
        self.spool = Spool()
        self.harness: Harness | None = None
        self.tools: Tools | None = None

    async def live(self) -> None:
        while True:
            try:
                await self._boot()
            except (*GONE, RpcError, ToolFailed):
                await asyncio.sleep(0.01)
            finally:
                self._drop()

    def kill(self) -> None:
        self.drill.ledger.harness_kills += 1
        self._drop()

    def _drop(self) -> None:
        for end in (self.harness, self.tools):
            if end is not None:
                with contextlib.suppress(Exception):
                    end.close()
        self.harness = self.tools = None

    async def _boot(self) -> None:
        run = self.drill.rig.layout.agent_run(self.uid)
        self.tools = await Tools.open(run / "mcp.sock")
        harness = self.harness = Harness(run / "harness.sock")
        harness.boot = str(uuid.uuid4())
        running = self.spool.running
        claim = (
            {} if running is None else {"running": {"turn": running, "handed": self.spool.handed}}
        )
        welcome = await harness.hello(
            session="s", ended=[e for e, _ in self._unconfirmed()], **claim
        )
        for turn in welcome["confirmed"]:
            self._confirmed(turn)
        if welcome["drop"]:
            self.spool = Spool(ended=self.spool.ended)
        if welcome["resume"] is not None:
            await self._turn(harness, welcome["resume"]["turn"])
        while True:
            grant = asyncio.ensure_future(harness.grants.get())
            closed = asyncio.ensure_future(harness.peer.closed.wait())
            await asyncio.wait((grant, closed), return_when=asyncio.FIRST_COMPLETED)
            if not grant.done():
                grant.cancel()
                raise PeerGone("a grant")
            closed.cancel()
            await self._begin(harness, grant.result()["turn"])

    async def _begin(self, harness: Harness, turn: str) -> None:
        if turn in self.spool.ended:
            return
        self.drill.ledger.granted(self.name, turn)
        if self.spool.running != turn:
            same = self.spool.running_before.partition(".")[0] == turn.partition(".")[0]
            taken = self.spool.taken if same else []  # the session goes on and knows them
            self.spool = Spool(running=turn, ended=self.spool.ended, taken=taken)
        await self._turn(harness, turn)

    async def _turn(self, harness: Harness, turn: str) -> None:
        """Some tool calls, then an end; each part can be the last of this process."""
        dice = random.Random(f"{turn}{self.name}")  # a repeated turn wants the same again
        for _ in range(dice.choice((0, 0, 1, 2))):
            await self._send(dice)
        if dice.random() < 0.3:
            got = await self._tool("recv", self._call(turn), max=3)
            self.spool.taken += [m["id"] for m in got["messages"]]
            self.spool.handed.append(f"{turn}:{self.spool.calls}")
        await asyncio.sleep(random.random() * 0.01)
        end = {"turn": turn, "outcome": "ok"}
        if dice.random() < 0.15:
            end |= {"outcome": "failed", "cause": "server_error", "retry_at": time.time()}
        self.spool.ended[turn] = {"end": end, "taken": list(self.spool.taken)}
        self.spool.running, self.spool.running_before = None, turn
        await harness.end(**end)
        self._confirmed(turn)

    async def _send(self, dice: random.Random) -> None:
        """A message to another agent. The engine repeats a call it has no answer of."""
        turn = self.spool.running
        if turn is None or self.drill.over:
            return
        to = dice.choice([p.name for p in self.drill.players if p is not self])
        body = f"{self.name} {turn} {dice.random()}"
        if ("done", body) in self.spool.sends:
            return
        sent = await self._tool("send", self._call(turn), to=to, body=body)
        self.drill.ledger.acknowledged[body] = sent["id"]
        self.spool.handed.append(f"{turn}:{self.spool.calls}")
        self.spool.sends.append(("done", body))

    async def _tool(self, tool: str, call: str, **arguments: object) -> dict:
        if self.tools is None:
            raise PeerGone(tool)  # killed a moment ago
        return await self.tools.call(tool, call, **arguments)

    def _call(self, turn: str) -> str:
        self.spool.calls += 1
        return f"{turn}:{self.spool.calls}"

    def _unconfirmed(self) -> list[tuple[dict, list[int]]]:
        return [(kept["end"], kept["taken"]) for kept in self.spool.ended.values()]

    def _confirmed(self, turn: str) -> None:
        kept = self.spool.ended.pop(turn, None)
        if kept is None or kept["end"]["outcome"] != "ok":
            return
        self.drill.ledger.turns += 1
        for message in {int(turn.partition(".")[0]), *kept["taken"]}:
            done = self.drill.ledger.completed
            done[self.name, message] = done.get((self.name, message), 0) + 1


class Drill:
    def __init__(self, rig: Rig, agents: int) -> None:
        self.rig = rig
        self.ledger = Ledger()
        self.over = False
        self.players = [Player(self, f"{n:012d}", f"p{n}") for n in range(agents)]
        self._numbers = itertools.count()
        self._work: list[asyncio.Task[None]] = []

    async def run(self, seconds: float) -> Ledger:
        """Chaos for `seconds`, then peace until every message is done with."""
        await self.rig.registry(*(agent(p.uid, p.name) for p in self.players))
        self._work = work = [asyncio.create_task(p.live()) for p in self.players]
        senders = [asyncio.create_task(self._operator()) for _ in range(3)]
        try:
            until_then = time.monotonic() + seconds
            while time.monotonic() < until_then:
                await asyncio.sleep(random.uniform(0.05, 0.25))
                if random.random() < 0.12:
                    self.ledger.broker_kills += 1
                    await self.rig.kill()
                    await self.rig.start()
                else:
                    random.choice(self.players).kill()
            self.over = True
            await asyncio.gather(*senders)
            await until(self._all_done, "every message is done with", timeout=60)
        finally:
            for task in (*work, *senders):
                task.cancel()
            await asyncio.gather(*work, *senders, return_exceptions=True)
        return self.ledger

    async def _operator(self) -> None:
        while not self.over:
            body = f"operator {next(self._numbers)}"
            to = random.choice(self.players).name
            await self._until_acknowledged(to, body)
            await asyncio.sleep(random.random() * 0.03)

    async def _until_acknowledged(self, to: str, body: str) -> None:
        while True:
            try:
                sent = await self.rig.ask("send", to=to, body=body, by="ann", key=body)
            except (*GONE, RpcError):
                await asyncio.sleep(0.01)
                continue
            self.ledger.acknowledged[body] = sent["id"]
            return

    async def _all_done(self) -> bool:
        for task in self._work:
            if task.done():
                task.result()  # a player ends by an error of its own only
        await asyncio.sleep(0.05)
        idle = all(not p.spool.ended for p in self.players)
        return idle and (await self.rig.ask("status"))["open"] == 0
