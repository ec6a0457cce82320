"""Tells the broker what agents used, and keeps it on disk until the broker has it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from pathlib import Path

from hive_wire.jsonrpc import Peer
from hive_wire.link import Link
from hive_wire.protocol import Usage
from hive_wire.rpc_errors import INVALID_PARAMS, NOT_FOUND, REFUSED, RpcError

from . import files
from .ledger import Ledger, Report

log = logging.getLogger(__name__)

NEVER_TAKEN = frozenset({INVALID_PARAMS, NOT_FOUND, REFUSED})
RETRY = 5.0  # seconds, after the broker failed inside


class Reporter:
    """`add` never waits: a response is not held up by its bookkeeping."""

    def __init__(self, path: Path, broker_sock: Path) -> None:
        self._path = path
        self._link = Link(broker_sock)
        self._ledger = Ledger()
        self._changed = asyncio.Event()
        self._unsent = asyncio.Event()
        self._saving = asyncio.Lock()

    async def load(self) -> None:
        """Take up what an earlier gateway could not report."""
        try:
            data = await asyncio.to_thread(files.read, self._path)
            self._ledger = Ledger() if data is None else Ledger.parse(data)
        except (OSError, ValueError) as error:
            log.error("%s is unreadable, its usage is lost: %s", self._path, error)
        if self._ledger:
            self._unsent.set()

    def add(self, uid: str, usage: Usage, usd: float) -> None:
        self._ledger.add(uid, usage, usd)
        self._changed.set()
        self._unsent.set()

    def limited(self, uid: str, until: float) -> None:
        """The API answers this agent again at `until` (unix seconds); said once."""
        self._link.notify("limited", {"uid": uid, "until": until})

    async def run(self) -> None:
        """Save and report until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._link.run())
            tasks.create_task(self._keep())
            tasks.create_task(self._send())

    async def _keep(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._save()

    async def _send(self) -> None:
        while True:
            await self._unsent.wait()
            self._unsent.clear()
            peer = await self._link.up()
            reports = self._ledger.seal(time.time())
            await self._save()  # sealed on disk first: a report sent twice is the same report
            for report in reports:
                if not await self._taken(peer, report):
                    break
            await self._save()
            if self._ledger:
                self._unsent.set()

    async def _taken(self, peer: Peer, report: Report) -> bool:
        try:
            await peer.request("usage", report.model_dump(), timeout=30)
        except (RpcError, TimeoutError) as error:
            if not isinstance(error, RpcError) or error.code not in NEVER_TAKEN:
                log.warning("usage of %s is kept for later: %s", report.uid, error or "no answer")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(peer.gone(), RETRY)
                return False
            log.error("the broker refuses the usage of %s: %s", report.uid, error)
        self._ledger.confirm(report)
        return True

    async def _save(self) -> None:
        async with self._saving:
            try:
                await asyncio.to_thread(files.replace, self._path, self._ledger.encode())
            except OSError as error:
                log.error("usage is not on disk: %s: %s", self._path, error.strerror)
