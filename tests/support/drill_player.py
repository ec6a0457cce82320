"""The processes that a drill kills: harnesses, and people who send. Each keeps its state in
a file, as the real ones do, and tells an append-only ledger what it saw.

Run as a program it is the mother of them: a line of JSON on its input starts one by fork,
and the line that it prints is the new process's number.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from support.broker_rig import Harness, ToolFailed, Tools, connected

from hive_wire.jsonrpc import Peer
from hive_wire.paths import Layout
from hive_wire.rpc_errors import PeerGone, RpcError

GONE = (PeerGone, OSError, TimeoutError, EOFError)


@dataclass(frozen=True)
class Part:
    """What one process plays. `others` are the names of agents that it may write to."""

    name: str
    uid: str  # "" for a person
    root: str
    directory: str
    others: tuple[str, ...]

    @property
    def file(self) -> Path:
        return Path(self.directory) / f"{self.name}.json"

    @property
    def over(self) -> bool:
        """Whether nothing new is to be sent."""
        return (Path(self.directory) / "over").exists()


class Log:
    """The ledger: one write a line, which outlives whoever wrote it."""

    def __init__(self, directory: str) -> None:
        self._file = os.open(Path(directory) / "ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, **entry: Any) -> None:
        os.write(self._file, json.dumps(entry).encode() + b"\n")


def save(path: Path, state: Any) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(state))
    beside.rename(path)


# -- people ------------------------------------------------------------------------


class Sender:
    """Sends one message after another, each until it is acknowledged."""

    def __init__(self, part: Part) -> None:
        self.part, self.log = part, Log(part.directory)
        self.number = json.loads(part.file.read_text()) if part.file.exists() else 0
        self.host: Peer | None = None

    async def live(self) -> None:
        while not self.part.over:
            to = self.part.others[self.number % len(self.part.others)]
            body = f"{self.part.name} {self.number}"
            ident = await self._until_acknowledged(to, body)
            self.log.write(acknowledged=body, id=ident)
            self.number += 1
            save(self.part.file, self.number)
            await asyncio.sleep(random.random() * 0.03)

    async def _until_acknowledged(self, to: str, body: str) -> int:
        message = {"to": to, "body": body, "by": "ann", "key": body}
        while True:
            try:
                if self.host is None or self.host.closed:
                    self.host = await connected(Layout.of(self.part.root).broker_sock)
                return int((await self.host.request("send", message, timeout=10))["id"])
            except (*GONE, RpcError):
                await asyncio.sleep(0.01)


# -- harnesses ---------------------------------------------------------------------


@dataclass
class Spool:
    """What a harness has on its disk."""

    running: str | None = None
    ended_last: str = ""
    ended: dict[str, dict[str, Any]] = field(default_factory=dict)  # turn to its terminal event
    taken: list[int] = field(default_factory=list)  # messages that recv gave to this turn
    handed: list[str] = field(default_factory=list)  # calls whose result the engine has
    sent: list[str] = field(default_factory=list)  # bodies of this turn
    calls: int = 0


class Player:
    """The harness of one agent, and the engine in it that writes to others."""

    def __init__(self, part: Part) -> None:
        self.part, self.log = part, Log(part.directory)
        self.spool = Spool()
        if part.file.exists():
            self.spool = Spool(**json.loads(part.file.read_text()))

    def save(self) -> None:
        save(self.part.file, asdict(self.spool))

    async def live(self) -> None:
        while True:
            try:
                await self._boot()
            except (*GONE, RpcError, ToolFailed):
                await asyncio.sleep(0.01)

    async def _boot(self) -> None:
        run = Layout.of(self.part.root).agent_run(self.part.uid)
        self.tools = await Tools.open(run / "mcp.sock")
        harness = Harness(run / "harness.sock")
        harness.boot = str(uuid.uuid4())
        try:
            await self._hello(harness)
            while True:
                grant = asyncio.ensure_future(harness.grants.get())
                closed = asyncio.ensure_future(harness.peer.gone())
                await asyncio.wait((grant, closed), return_when=asyncio.FIRST_COMPLETED)
                closed.cancel()
                if not grant.done():
                    grant.cancel()
                    raise PeerGone("a grant")
                await self._begin(harness, grant.result()["turn"])
        finally:
            self.tools.close()
            harness.close()

    async def _hello(self, harness: Harness) -> None:
        spool = self.spool
        hello: dict[str, Any] = {"ended": [kept["end"] for kept in spool.ended.values()]}
        if spool.running is not None:
            hello["running"] = {"turn": spool.running, "handed": spool.handed}
        welcome = await harness.hello(session="s", **hello)
        for turn in welcome["confirmed"]:
            self._confirmed(turn)
        if welcome["drop"]:
            self.spool = Spool(ended=self.spool.ended)
            self.save()
        if welcome["resume"] is not None:
            await self._turn(harness, welcome["resume"]["turn"])

    async def _begin(self, harness: Harness, turn: str) -> None:
        if turn in self.spool.ended:
            return
        self.log.write(granted=turn, to=self.part.name)
        if self.spool.running != turn:
            same = self.spool.ended_last.partition(".")[0] == turn.partition(".")[0]
            taken = self.spool.taken if same else []  # the session goes on and knows them
            self.spool = Spool(running=turn, ended=self.spool.ended, taken=taken)
            self.save()
        await self._turn(harness, turn)

    async def _turn(self, harness: Harness, turn: str) -> None:
        """Some tool calls, then an end; each part can be the last of this process."""
        dice = random.Random(f"{turn}{self.part.name}")  # a repeated turn wants the same again
        for _ in range(dice.choice((0, 0, 1, 2))):
            await self._send(turn, dice)
        if dice.random() < 0.3:
            call = self._call(turn)
            got = await self.tools.call("recv", call, max=3)
            self.spool.taken += [m["id"] for m in got["messages"]]
            self.spool.handed.append(call)
            self.save()
        await asyncio.sleep(random.random() * 0.01)
        end = {"turn": turn, "outcome": "ok"}
        if dice.random() < 0.15:
            end |= {"outcome": "failed", "cause": "server_error", "retry_at": time.time()}
        self.spool.ended[turn] = {"end": end, "taken": list(self.spool.taken)}
        self.spool.running, self.spool.ended_last = None, turn
        self.save()
        await harness.end(**end)
        self._confirmed(turn)

    async def _send(self, turn: str, dice: random.Random) -> None:
        """A message to another agent. The engine repeats a call it has no answer of."""
        to, body = dice.choice(self.part.others), f"{self.part.name} {turn} {dice.random()}"
        if body in self.spool.sent or self.part.over:
            return
        call = self._call(turn)
        sent = await self.tools.call("send", call, to=to, body=body)
        self.log.write(acknowledged=body, id=sent["id"])
        self.spool.handed.append(call)
        self.spool.sent.append(body)
        self.save()

    def _call(self, turn: str) -> str:
        self.spool.calls += 1
        self.save()
        return f"{turn}:{self.spool.calls}"

    def _confirmed(self, turn: str) -> None:
        kept = self.spool.ended.get(turn)
        if kept is None:
            return
        if kept["end"]["outcome"] == "ok":
            closed = sorted({int(turn.partition(".")[0]), *kept["taken"]})
            self.log.write(completed=closed, turn=turn, by=self.part.name)
        del self.spool.ended[turn]
        self.save()


# -- the mother --------------------------------------------------------------------


def play(part: Part) -> None:
    player = Player(part) if part.uid else Sender(part)
    asyncio.run(player.live())


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        said = json.loads(line)
        part = Part(**said | {"others": tuple(said["others"])})
        child = os.fork()
        if child == 0:
            os.close(0)
            play(part)
            os._exit(0)
        print(child, flush=True)


if __name__ == "__main__":
    main()
