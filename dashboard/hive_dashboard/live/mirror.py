"""What the pages show: the last answers of both processes, fetched again when they change."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hive_wire.rpc_errors import RpcError

from ..review.paint import PaintedFile, paint
from .backends import Backend
from .lanes import Lanes, Span
from .machine import Machine, look
from .models import (
    AgentStatus,
    BrokerCondition,
    DeadLetter,
    Event,
    HostStatus,
    Message,
    Proposal,
    ProposalDetail,
    Question,
    Retired,
)
from .reading import BROKER, HOST, STALE
from .spending import Spending, Spent

log = logging.getLogger(__name__)

GATHER = 0.05  # seconds in which changes become one new snapshot
MINUTE = 60.0  # seconds after which the pages are drawn anew though nothing happened
SETTLE = 3.0  # seconds that an answer may wait for fresh parts
AGAIN = 2.0  # seconds until a part that could not be read is asked for again
DETAILS = 30  # open proposals whose diff is kept
HOST_PARTS = tuple(HOST)
BROKER_PARTS = tuple(BROKER)


@dataclass(frozen=True)
class Review:
    """A proposal ready to be shown: its detail and the coloured diff."""

    detail: ProposalDetail
    files: tuple[PaintedFile, ...]
    row: Proposal | None = None  # as the list had it, to tell when to read it again


@dataclass(frozen=True)
class Snapshot:
    """`away` maps a process to since when; `unread` a part to why it could not be read."""

    version: int = 0
    at: float = 0.0  # when it was made
    started: float = 0.0  # when we began to hear
    heard: dict[str, float] = field(default_factory=dict)  # uid: its last event
    failed_logins: tuple[int, float] | None = None  # how many in a row, since when
    status: HostStatus | None = None
    open: tuple[Proposal, ...] = ()
    details: dict[int, Review] = field(default_factory=dict)
    closed: tuple[Proposal, ...] = ()
    agents: dict[str, AgentStatus] = field(default_factory=dict)  # by name
    questions: tuple[Question, ...] = ()
    questions_behind: int = 0  # that are open, too, and were not read
    late: tuple[Question, ...] = ()  # expired, and not answered yet
    kept: tuple[Retired, ...] = ()
    messages: tuple[Message, ...] = ()
    inbox: tuple[Message, ...] = ()
    dead: tuple[DeadLetter, ...] = ()
    dead_behind: int = 0  # that were not read
    conditions: tuple[BrokerCondition, ...] = ()  # of the broker
    lanes: dict[str, tuple[Span, ...]] = field(default_factory=dict)
    machine: Machine | None = None
    doors: dict[str, int] = field(default_factory=dict)  # agent: its own port
    taken: dict[str, int] = field(default_factory=dict)  # agent: a port that another process has
    logins: dict[str, str] = field(default_factory=dict)  # uid: where a person logs in
    spent: dict[str, Spent] = field(default_factory=dict)  # by uid
    away: dict[str, float] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)


class Mirror:
    def __init__(self, root: Path, on_change: Callable[[Snapshot], None]) -> None:
        self.snapshot = Snapshot()
        self._root = root
        self._on_change = on_change
        self._stale: set[str] = set()
        self._lanes = Lanes()
        self._spending = Spending()
        self._meanwhile: list[Event] | None = None  # heard while history is read
        self._doors: dict[str, int] = {}
        self._taken: dict[str, int] = {}
        self._logins: dict[str, str] = {}
        self._started = time.time()
        self._heard: dict[str, float] = {}
        self._failed_logins: tuple[int, float] | None = None
        self._redraw = False  # though no part is another
        self._wake = asyncio.Event()
        self._unheard = {"status", "agents"}  # the first words of both processes
        self._begun = asyncio.Event()
        self._reading = asyncio.Lock()
        self._backends: tuple[Backend, Backend] | None = None

    async def run(self, host: Backend, broker: Backend) -> None:
        """Keep the snapshot fresh until cancelled."""
        self._backends = (host, broker)
        asyncio.get_running_loop().call_later(SETTLE, self._begun.set)
        await self._refresh(host, broker)  # says at once who is away
        while True:
            try:
                async with asyncio.timeout(MINUTE):
                    await self._wake.wait()
            except TimeoutError:
                self._redraw = True  # silence is news, too, and the lanes go on
            await asyncio.sleep(GATHER)
            self._wake.clear()
            try:
                await self._refresh(host, broker)
            except Exception:
                log.exception("refreshing the pages failed")
                asyncio.get_running_loop().call_later(AGAIN, self._wake.set)

    def heard(self, events: list[Event]) -> None:
        """Note what the broker's events make stale."""
        self._lanes.add(events)
        self._spending.add(events)
        if self._meanwhile is not None:
            self._meanwhile += events
        for event in events:
            if event.agent:
                self._heard[event.agent] = event.at
            if event.kind == "login" and event.data.get("outcome") != "started":
                self._logins.pop(event.agent or "", None)
            if parts := STALE.get(event.kind):
                self.stale(*parts)

    def login_at(self, uid: str, url: str | None) -> None:
        """An agent's login goes on at `url`, or ended."""
        if url is None:
            self._logins.pop(uid, None)
        else:
            self._logins[uid] = url
        self.stale("agents")

    def ports(self, doors: dict[str, int], taken: dict[str, int]) -> None:
        """By agent: its own port that is open, and the one which another process has."""
        if (doors, taken) != (self._doors, self._taken):
            self._doors, self._taken = doors, taken
            self.stale("agents")

    def login_failed(self, count: int) -> None:
        """So many logins failed in a row; 0 when one succeeded."""
        since = self._failed_logins[1] if self._failed_logins else time.time()
        self._failed_logins = (count, since) if count else None
        self._redraw = True
        self._wake.set()

    def stale(self, *parts: str) -> None:
        self._stale.update(parts)
        self._wake.set()

    def turned(self) -> None:
        """A process came or went."""
        self._wake.set()

    async def first(self) -> None:
        """Wait for the first words of both processes, so that no page says of what was not
        read yet that it is not there; not longer than SETTLE after the start."""
        await self._begun.wait()

    async def settle(self) -> None:
        """Fetch what is stale, so that an answer shows what was just done; not for long."""
        if self._backends is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SETTLE):
                    await self._refresh(*self._backends)

    async def _refresh(self, host: Backend, broker: Backend) -> None:
        async with self._reading:
            parts = [p for p in HOST_PARTS if p in self._stale and host.is_up]
            parts += [p for p in BROKER_PARTS if p in self._stale and broker.is_up]
            self._stale.difference_update(parts)
            try:
                found, failed = await self._read(parts, host, broker)
            except BaseException:
                self.stale(*parts)
                raise
            machine = await asyncio.to_thread(look, self._root)
        unread = {p: why for p, why in self.snapshot.unread.items() if p not in parts} | failed
        away = {b.title: b.away_since for b in (host, broker) if b.away_since is not None}
        old = self.snapshot
        ports = (self._doors, self._taken)
        same = (found, away, unread, ports) == ({}, old.away, old.unread, (old.doors, old.taken))
        if same and not self._redraw:
            return
        self._redraw = False
        self.snapshot = replace(
            old,
            version=old.version + 1,
            at=time.time(),
            started=self._started,
            heard=dict(self._heard),
            failed_logins=self._failed_logins,
            away=away,
            unread=unread,
            lanes=self._lanes.spans(minute()),
            machine=machine,
            doors=self._doors,
            taken=self._taken,
            logins=dict(self._logins),
            spent=self._spending.spent(time.time()),
            **found,
        )
        self._unheard.difference_update(found)
        if not self._unheard:
            self._begun.set()
        self._on_change(self.snapshot)

    async def _read(
        self, parts: list[str], host: Backend, broker: Backend
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """What the parts are now, and why some could not be read."""
        reads = [HOST[p](host) if p in HOST else BROKER[p](broker) for p in parts]
        heard: list[Event] = []
        self._meanwhile = heard
        try:
            answers = await asyncio.gather(*reads, return_exceptions=True)
        finally:
            self._meanwhile = None
        found: dict[str, Any] = {}
        failed: dict[str, str] = {}
        for part, answer in zip(parts, answers, strict=True):
            if isinstance(answer, Exception):
                failed[part] = self._failed(part, part, answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found[part] = answer
        if "past" in found:
            self._lanes.load(_joined(found.pop("past"), heard))
        if "turns" in found:
            self._spending.load(_joined(found.pop("turns"), heard))
        if "questions" in found:
            found["questions"], found["questions_behind"] = found["questions"]
        if "dead" in found:
            found["dead"], found["dead_behind"] = found["dead"]
        if "open" in found:
            found["details"], unread = await self._details(host, found["open"])
            failed |= {"open": "; ".join(unread)} if unread else {}
        return found, failed

    def _failed(self, part: str, what: str, error: Exception) -> str:
        """Why it could not be read, for people; it is read again."""
        unknown = None if isinstance(error, RpcError | TimeoutError) else error
        log.warning("%s could not be read: %r", what, error, exc_info=unknown)
        asyncio.get_running_loop().call_later(AGAIN, self.stale, part)
        return _why(error)

    async def _details(
        self, host: Backend, rows: tuple[Proposal, ...]
    ) -> tuple[dict[int, Review], list[str]]:
        """The details of the open proposals, and why some could not be read; those that did not
        change are kept."""
        kept, unread = dict[int, Review](), list[str]()
        for row in rows[:DETAILS]:
            old = self.snapshot.details.get(row.n)
            settled = old is not None and not old.detail.is_evaluated_now
            if old is not None and settled and row.effect is not None and old.row == row:
                kept[row.n] = old
                continue
            try:
                kept[row.n] = replace(await read_proposal(host, row.n), row=row)
            except Exception as error:  # noqa: BLE001 - one may not keep the others from the page
                unread.append(f"#{row.n}: {self._failed('open', f'proposal {row.n}', error)}")
        return kept, unread


async def read_proposal(host: Backend, n: int) -> Review:
    """Raises RpcError, TimeoutError, ValidationError."""
    detail = ProposalDetail.of(await host.ask("proposal", n=n))
    return Review(detail, await asyncio.to_thread(paint, detail.diff))


def _joined(history: list[Event], heard: list[Event]) -> list[Event]:
    """With what was heard after the history was read."""
    last = history[-1].id if history else 0
    return [*history, *(event for event in heard if event.id > last)]


def minute() -> float:
    """The end of this minute: what is drawn from it changes once a minute."""
    return (time.time() // 60 + 1) * 60


def _why(error: BaseException) -> str:
    if isinstance(error, RpcError):
        return error.message
    if isinstance(error, TimeoutError):
        return "no answer within 20 s"
    return "the answer was not understood; its log has the details"
