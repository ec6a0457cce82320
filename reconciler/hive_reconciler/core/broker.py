"""The reconciler's line to the broker: registry, holds, system messages, exports."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from hive_wire.jsonrpc import Params, Peer
from hive_wire.link import Link
from hive_wire.pages import AGENTS, ask_whole
from hive_wire.paths import Layout
from hive_wire.protocol import AgentStatus, RegistryAgent
from hive_wire.registry import PART
from hive_wire.rpc_errors import REFUSED, UNAVAILABLE, RpcError

from .announcing import Announcer

log = logging.getLogger(__name__)

WAKING = frozenset({"ready", "offline"})  # what a round looks at
TELLING = WAKING | {"turn.ended"}  # what who drains an agent waits for
KNOWN_FOR = 30.0  # seconds; a resync always asks anew
EXPORT_TIMEOUT = 90.0  # seconds; the harness has its own, shorter one
MAX_EXPORT = 64 << 20


@dataclass(frozen=True)
class Held:
    """What the broker said to a hold. `known` False: it cannot tell whether a turn runs."""

    running: str | None
    known: bool


class Broker:
    """`on_event` is called whenever something happened that may change what is to be done."""

    def __init__(self, layout: Layout, on_event: Callable[[], None]) -> None:
        self._on_event = on_event
        self._announcer = Announcer()
        self._changes: dict[str, set[asyncio.Event]] = {}
        self._exports: dict[str, asyncio.Queue[bytes | None]] = {}
        self._known: Mapping[str, AgentStatus] | None = None
        self._known_until = 0.0  # monotonic
        self._stirred: set[str] = set()  # uids that something happened to since
        self._up_at: float | None = None
        self.down_since: float | None = time.time()
        self.fences_left = True  # of a former process, or that could not be lifted
        self.link = Link(
            layout.broker_sock,
            {"events": self._events, "chunk": self._chunk},
            on_connect=self._greet,
            on_down=self._down,
        )

    async def run(self) -> None:
        await self.link.run()

    @property
    def up_for(self) -> float:
        """Seconds since the connection stands; 0 while it does not."""
        return 0.0 if self._up_at is None else time.monotonic() - self._up_at

    async def publish(self, registry: Mapping[str, RegistryAgent]) -> None:
        """Tell the broker who there is, now if it listens and on each new connection."""
        self._announcer.wanted = registry
        if self.link.is_up:
            told = await self._announcer.tell(self.link)
            self._stirred |= told

    async def agents(self, uids: Collection[str] | None = None) -> dict[str, AgentStatus] | None:
        """What the broker knows of all agents, or of these, by uid; None while it is away."""
        if uids is None and self._announcer.wanted is not None:
            uids = self._announcer.wanted.keys()
        asked = None if uids is None else list(uids)
        found: dict[str, AgentStatus] = {}
        try:
            for start in range(0, max(1, len(asked or ())), PART):
                some = {} if asked is None else {"uids": asked[start : start + PART]}
                answer = await ask_whole(self._ask, AGENTS, **some)
                statuses = [AgentStatus.model_validate(item) for item in answer["agents"]]
                found |= {status.uid: status for status in statuses}
        except (RpcError, TimeoutError, ValidationError) as error:
            log.debug("agents: %s", error)
            return None
        return found

    async def recent(self) -> Mapping[str, AgentStatus] | None:
        """What `agents` said last: the same object while the broker reports no event, and all
        asked anew every KNOWN_FOR seconds. Who runs a turn or is ready changes with an event."""
        now = time.monotonic()
        known = None if now >= self._known_until else self._known
        stirred, self._stirred = self._stirred, set()
        if known is None:
            self._known_until = now + KNOWN_FOR
            self._known = await self.agents()
        elif stirred:
            news = await self.agents(stirred)
            kept = {uid: status for uid, status in known.items() if uid not in stirred}
            self._known = None if news is None else kept | news
        return self._known

    # -- one agent ---------------------------------------------------------------

    async def hold(self, uid: str, token: str, ttl: float) -> Held:
        answer = await self._ask("hold", uid=uid, token=token, ttl=ttl)
        return Held(answer["running"], answer["known"])

    async def release(self, uid: str, token: str) -> None:
        await self._ask("release", uid=uid, token=token)

    async def fence(self, uid: str, token: str) -> None:
        await self._ask("fence", uid=uid, token=token)

    async def unfence(self, uid: str) -> None:
        try:
            await self._ask("unfence", uid=uid)
        except BaseException:  # also when who asks is called off
            self.fences_left = True  # unlike a hold, it outlives the broker
            raise

    async def fences(self) -> list[str]:
        answer = await self._ask("fences")
        return list(answer["uids"])

    async def interrupt(self, uid: str, by: str) -> None:
        await self._ask("interrupt", uid=uid, by=by)

    async def system(
        self, to: str, kind: str, body: str, data: dict[str, Any] | None, key: str
    ) -> None:
        """A system message; the same key again is the same message. Raises RpcError."""
        params = {"to": to, "kind": kind, "body": body, "key": key}
        await self.link.request("system", params if data is None else {**params, "data": data})

    def changes(self, uid: str) -> asyncio.Event:
        """An event that is set when something happens to this agent. Give it back to `forget`."""
        event = asyncio.Event()
        self._changes.setdefault(uid, set()).add(event)
        return event

    def forget(self, uid: str, event: asyncio.Event) -> None:
        waiting = self._changes.get(uid, set())
        waiting.discard(event)
        if not waiting:
            self._changes.pop(uid, None)

    async def export(
        self,
        uid: str,
        commit: str,
        have: Sequence[str],
        write: Callable[[bytes], Awaitable[None]],
    ) -> str:
        """Writes the pack of `commit` from the agent's clone, without what `have` reaches.

        Returns the commit's full OID. Raises RpcError when the agent is away, does not
        know the commit, or sends too much.
        """
        stream = uuid.uuid4().hex
        chunks = self._exports[stream] = asyncio.Queue()
        params = {"uid": uid, "commit": commit, "have": list(have), "stream": stream}
        asking = asyncio.ensure_future(self.link.request("export", params, timeout=EXPORT_TIMEOUT))
        asking.add_done_callback(lambda _: chunks.put_nowait(None))
        size = 0
        try:
            while (chunk := await chunks.get()) is not None:
                size += len(chunk)
                if size > MAX_EXPORT:
                    raise RpcError(REFUSED, f"the commit is larger than {MAX_EXPORT >> 20} MiB")
                await write(chunk)
            return str((await asking)["oid"])
        except TimeoutError:
            message = f"the agent did not export {commit} within {EXPORT_TIMEOUT:.0f} s"
            raise RpcError(UNAVAILABLE, message) from None
        finally:
            self._exports.pop(stream, None)
            asking.cancel()

    # -- inside --------------------------------------------------------------------

    async def _ask(self, method: str, **params: Any) -> Any:
        return await self.link.request(method, params, timeout=10)

    async def _greet(self, peer: Peer) -> None:
        await self._announcer.tell(peer)
        await peer.request("subscribe", {"after": None, "stream": False}, timeout=30)
        self._up_at, self.down_since = time.monotonic(), None
        self._wake()

    def _down(self) -> None:
        self._announcer.forget()
        self._known = None
        if self._up_at is not None:
            self._up_at, self.down_since = None, time.time()
            self._wake()

    def _events(self, _peer: Peer, params: Params) -> None:
        for event in params.get("events", ()):
            self._stirred.add(str(event.get("agent")))
            if event.get("kind") in TELLING:
                self._tell(event.get("agent"))
            if event.get("kind") in WAKING:
                self._on_event()

    def _wake(self) -> None:
        self._known_until = 0.0
        for uid in self._changes:
            self._tell(uid)
        self._on_event()

    def _tell(self, uid: str | None) -> None:
        for event in self._changes.get(uid or "", ()):
            event.set()

    def _chunk(self, _peer: Peer, params: Params) -> None:
        queue = self._exports.get(str(params.get("stream")))
        if queue is None:
            return
        try:
            queue.put_nowait(base64.b64decode(params.get("data", ""), validate=True))
        except (binascii.Error, TypeError, ValueError):
            log.warning("a chunk of an export is not base64: dropped")
