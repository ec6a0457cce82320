"""The harness as a process: parts joined, signals obeyed, an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hive_wire.jsonrpc import Params, Peer
from hive_wire.rpc_errors import INVALID_PARAMS, REFUSED, RpcError

from . import agentfile
from .clone import Clone, GitFailed, as_chunk
from .conductor import Conductor
from .engine.resident import ResidentEngine
from .engine.sessions import Sessions
from .login import Login
from .permits import Permits
from .processes import Children, become_subreaper
from .rows import Row
from .settings import Settings
from .spool import Spool
from .uplink import Uplink

log = logging.getLogger(__name__)


class Unkillable(Exception):
    """A process of a turn outlives SIGKILL: the container must be started anew."""


class Harness:
    """Everything of one boot."""

    def __init__(self, settings: Settings, spool: Spool) -> None:
        self._settings = settings
        self._children = Children()
        self._sessions = Sessions(spool, settings.claude_config)
        self._spool = spool
        self._tasks: set[asyncio.Task[Any]] = set()
        self._clone: Clone | None = None
        self._login = Login(self._children, settings)
        self._conductor = Conductor(
            settings, spool, self._make_engine, self._make_uplink, self._make_clone
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then end in order: a running turn is left to the next boot."""

        def reap() -> None:
            self._beside(self._children.reap())

        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, reap)
        work = [
            asyncio.create_task(self._uplink.run()),
            asyncio.create_task(self._conductor.run()),
        ]
        self._beside(self._make_clone())
        stopped = asyncio.create_task(stop.wait())
        work.append(asyncio.create_task(self._fail_if_unkillable()))
        done, _ = await asyncio.wait((*work, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not self._conductor.unkillable.is_set():  # else it would be waited for for ever
            await self._login.cancel()
            await self._engine.close()
        await self._uplink.last_words()
        loop.remove_signal_handler(signal.SIGCHLD)  # soon there is no thread to look into /proc
        for task in (*work, *self._tasks, stopped):
            task.cancel()
        await asyncio.gather(*work, *self._tasks, stopped, return_exceptions=True)
        for task in done - {stopped}:
            task.result()  # a fault of our own ends the process loudly

    async def _fail_if_unkillable(self) -> None:
        await self._conductor.unkillable.wait()
        raise Unkillable(
            "a process that a turn started cannot be killed: a new container is needed"
        )

    # -- the parts -------------------------------------------------------------

    def _make_engine(self, conductor: Conductor) -> ResidentEngine:
        def on_row(row: Row) -> None:
            self._uplink.row(row, conductor.turn)

        async def permit(request: dict[str, Any]) -> dict[str, Any]:
            return await self._permits.decide(request)

        def troubled(words: str) -> None:
            conductor.show(conductor.doing.troubled(words))

        self._engine = ResidentEngine(
            self._settings,
            self._sessions,
            self._children,
            on_row=on_row,
            permit=permit,
            troubled=troubled,
        )
        return self._engine

    def _make_uplink(self, conductor: Conductor) -> Uplink:
        async def confirmed(turn: str) -> None:
            await asyncio.to_thread(self._spool.confirm, turn)

        handlers = {
            "grant": lambda _, params: conductor.granted(params),
            "interrupt": self._on_interrupt,
            "command": self._on_command,
            "login": self._on_login,
            "export": self._on_export,
        }
        self._uplink = Uplink(
            self._settings.harness_sock,
            handlers,
            conductor.greeting,
            conductor.welcomed,
            confirmed,
        )
        self._permits = Permits(
            self._uplink,
            lambda: conductor.turn,
            lambda tool: conductor.show(conductor.doing.asked(tool)),
            lambda tool: conductor.show(conductor.doing.answered(tool)),
            self._settings.ask_within,
        )
        return self._uplink

    async def _make_clone(self) -> None:
        """Only the manager has one; it is tried again before each turn and each export."""
        with contextlib.suppress(agentfile.BadAgentFile):
            await self._have_clone()

    async def _have_clone(self) -> Clone | None:
        agent = agentfile.read(self._settings.agent_file)
        if not agent.is_manager:
            return None
        if self._clone is None:
            self._clone = Clone(
                self._settings.hive, self._settings.applied, agent.name, self._children
            )
        try:
            await self._clone.make()
        except GitFailed as error:
            log.warning("the clone of the applied branch could not be made: %s", error)
        return self._clone

    # -- what the broker asks --------------------------------------------------

    async def _on_interrupt(self, _: Peer, params: Params) -> dict[str, Any]:
        await self._conductor.interrupt(_text(params, "turn"))
        return {}

    async def _on_command(self, _: Peer, params: Params) -> dict[str, Any]:
        argument = str(params.get("argument") or "")
        return {"text": await self._conductor.command(_text(params, "command"), argument)}

    async def _on_login(self, _: Peer, params: Params) -> dict[str, Any]:
        match _text(params, "step"):
            case "start":
                return {"url": await self._login.start(agentfile.read(self._settings.agent_file))}
            case "code":
                return {"text": await self._login.code(_text(params, "code"))}
            case "cancel":
                await self._login.cancel()
                return {}
        raise RpcError(INVALID_PARAMS, "step is start, code or cancel")

    async def _on_export(self, peer: Peer, params: Params) -> dict[str, Any]:
        commit, stream = _text(params, "commit"), params.get("stream")
        have = params.get("have") or []
        if not isinstance(have, list) or not all(isinstance(oid, str) for oid in have):
            raise RpcError(INVALID_PARAMS, "`have` is a list of commit ids")
        clone = await self._have_clone()
        if clone is None:
            raise RpcError(REFUSED, "only the manager has a clone to export commits from")
        if not clone.exists:
            raise RpcError(REFUSED, "the manager's clone could not be made; its log says why")
        oid, pack = await clone.export(commit, have)
        size = 0
        async with contextlib.aclosing(pack):
            async for chunk in pack:
                peer.notify("chunk", as_chunk(stream, chunk))
                await peer.drained()
                size += len(chunk)
        return {"oid": oid, "bytes": size}

    def _beside(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _text(params: Params, key: str) -> str:
    value = params.get(key)
    if not isinstance(value, str):
        raise RpcError(INVALID_PARAMS, f"{key} is missing or no text")
    return value


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run the harness until `stop`. Raises SpoolBusy, Unkillable."""
    become_subreaper()
    # A thread costs memory in every container, and there is little for it to do.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    spool = Spool(settings.spool)
    await asyncio.to_thread(spool.open)
    await Harness(settings, spool).run(stop)
