"""One live agent as the broker has it in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import orjson

from hive_wire.jsonrpc import Peer
from hive_wire.protocol import AgentState as StateName
from hive_wire.protocol import RegistryAgent
from hive_wire.rpc_errors import UNAVAILABLE, RpcError

from ..core.budget import Spending
from ..core.calls import Call, CallLog
from ..core.clock import Clock
from ..core.delivery import Delivery
from ..core.folding import Folder
from ..core.gate import Gate
from ..core.limits import TOLD, TOLD_PER_SECOND, Allowance, Bucket
from ..core.mailbox import Mailbox
from ..store.load import AgentState
from .news import News


@dataclass(frozen=True, slots=True)
class Shown:
    """What people see of an agent's state; `until` in unix seconds."""

    state: StateName
    detail: str = ""
    until: float | None = None


class Agent:
    """`lock` is held over every step that decides, writes and then applies."""

    def __init__(self, stored: AgentState, clock: Clock) -> None:
        self.record: RegistryAgent = stored.record
        self.mailbox = Mailbox(
            [d if not d.not_before else _steady(d, clock) for d in stored.deliveries],
            stored.running,
            stored.untouched,
        )
        self.gate = Gate(fenced=stored.fenced)
        self.calls = CallLog(stored.calls)
        self.allowance = Allowance(clock.steady())
        self.folder = Folder(clock.steady(), lambda data: len(orjson.dumps(data)))
        self.spending = _spending(stored, clock)
        self.dead = stored.dead
        self.boot = stored.boot
        self.acked = stored.acked
        self.lock = asyncio.Lock()
        self.stream_lock = asyncio.Lock()
        self.rows_refused = False  # for want of room; the harness has them still
        self.in_flight: dict[str, tuple[Call, asyncio.Task[str]]] = {}  # tool calls by name
        self.peer: Peer | None = None
        self.ready = False  # hello was answered on `peer`
        self.known = False  # said hello since the broker started
        self.refused = ""  # why its last hello was, while no other was taken
        self.limited_until = 0.0  # unix seconds, as the gateway heard from the model's API
        self.away_since = clock.steady()
        self.reported = Shown("starting")
        self.shown = Shown("offline")
        self.since = clock.wall()
        self.telling = 0  # changes of `shown` on their way into the history
        self.untold = False  # there were more than may be on their way, or than may be kept
        self.tellings = Bucket(TOLD, TOLD_PER_SECOND, clock.steady())
        self.written = 0  # bytes of history, about, since one looked how much it keeps
        self.last_event = 0
        self.last_seen: float | None = None
        self.news = News()  # of whatever a waiting recv must look at

    @property
    def uid(self) -> str:
        return self.record.uid

    @property
    def name(self) -> str:
        return self.record.name

    def connected(self) -> Peer:
        """The harness. Raises RpcError(UNAVAILABLE) when it is not there."""
        if self.peer is None or not self.ready:
            raise RpcError(
                UNAVAILABLE, f"{self.name} is offline; its container is stopped or starting"
            )
        return self.peer


def _steady(delivery: Delivery, clock: Clock) -> Delivery:
    """With its time as unix seconds turned into a steady one."""
    return delivery._replace(not_before=clock.steady_at(delivery.not_before))


def _spending(stored: AgentState, clock: Clock) -> Spending:
    spending = Spending()
    for at in stored.starts:
        spending.turns.add(clock.steady_at(at), 1)
    for at, usd in stored.claimed:
        spending.claimed.add(clock.steady_at(at), usd)
    for at, usd in stored.metered:
        spending.metered.add(clock.steady_at(at), usd)
    return spending
