"""To stop an agent without killing a turn: hold delivery, wait for the turn's end, fence."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from hive_wire.protocol import AgentStatus
from hive_wire.rpc_errors import NOT_FOUND, UNAVAILABLE, RpcError

from ..runtime.base import Observed
from .broker import Broker

log = logging.getLogger(__name__)

HOLD_TTL = 60.0  # seconds
RENEW = 20.0
ASK_AGAIN = 2.0  # while nothing will tell us
HARNESS_AWAY = 60.0
BROKER_SETTLED = 10.0  # after this, a harness that can connect has done so
INTERRUPT_WAIT = 5.0
CLOCK_TOLERANCE = 1.0  # seconds by which a clock may be slewed meanwhile

Say = Callable[[str, str], None]
See = Callable[[], Observed | None]


class Drain:
    """The hold of one operation on one agent. `say(reason, message)` tells what it waits for."""

    def __init__(self, broker: Broker, uid: str, token: str, *, see: See, say: Say) -> None:
        self._broker = broker
        self._uid = uid
        self._token = token
        self._see = see
        self._say = say
        self._patience = ASK_AGAIN
        self._has_fence = False

    async def wait(self) -> None:
        """Returns once no turn runs and none will be delivered. Waits as long as it takes."""
        change = self._broker.changes(self._uid)
        try:
            while not await self._try():
                try:
                    async with asyncio.timeout(self._patience):
                        await change.wait()
                except TimeoutError:
                    continue
                finally:
                    change.clear()
        finally:
            self._broker.forget(self._uid, change)

    async def still(self) -> bool:
        """Whether that is so yet, however long ago `wait` returned: a fence lasts, a hold does not."""
        return self._has_fence or await self._try()

    async def now(self, by: str) -> None:
        """End the running turn; returns within INTERRUPT_WAIT seconds, whatever happened."""
        change = self._broker.changes(self._uid)
        try:
            async with asyncio.timeout(INTERRUPT_WAIT):
                held = await self._broker.hold(self._uid, self._token, HOLD_TTL)
                if held.running is not None:
                    await self._broker.interrupt(self._uid, by)
                while held.running is not None:
                    await change.wait()
                    change.clear()
                    held = await self._broker.hold(self._uid, self._token, HOLD_TTL)
                await self._broker.fence(self._uid, self._token)
        except (RpcError, TimeoutError) as error:
            log.info("%s: stopped although its turn did not end: %s", self._uid, error)
        finally:
            self._broker.forget(self._uid, change)

    async def end(self) -> None:
        """Let delivery go on. A hold that cannot be released expires by itself."""
        await self._give_up(self._broker.unfence, self._uid)
        await self._give_up(self._broker.release, self._uid, self._token)

    async def _give_up(self, step: Callable[..., Awaitable[None]], *what: str) -> None:
        try:
            await step(*what)
        except (RpcError, TimeoutError) as error:
            log.debug("%s: %s", self._uid, error)

    async def _try(self) -> bool:
        self._patience = ASK_AGAIN
        try:
            held = await self._broker.hold(self._uid, self._token, HOLD_TTL)
        except TimeoutError:
            self._say("WaitingForBroker", "the broker does not answer; its turn counts as busy")
            return False
        except RpcError as error:
            return self._refused(error)
        if held.known and held.running is None:
            return await self._fenced(nobody_runs_it=False)
        if await self._idle_anyway():
            return await self._fenced(nobody_runs_it=True)
        if held.known:
            self._say("Draining", f"waits for the end of turn {held.running}")
            self._patience = RENEW
        else:
            self._say("WaitingForHarness", "its harness is away; a turn may still run")
        return False

    async def _fenced(self, *, nobody_runs_it: bool) -> bool:
        """Fence it. A turn that is leased and that nobody runs is in the way of no stop."""
        try:
            await self._broker.fence(self._uid, self._token)
        except (RpcError, TimeoutError) as error:
            log.info("%s: no fence: %s", self._uid, error)
            if not nobody_runs_it:
                return False
        else:
            self._has_fence = True
            return True
        try:  # unless a harness came back meanwhile
            return not (await self._broker.hold(self._uid, self._token, HOLD_TTL)).known
        except (RpcError, TimeoutError):
            return False

    def _refused(self, error: RpcError) -> bool:
        if error.code == NOT_FOUND:
            return True  # the broker has no such agent: nothing can be delivered to it
        away = error.code == UNAVAILABLE
        self._say("WaitingForBroker" if away else "WaitingForHold", error.message)
        return False

    async def _idle_anyway(self) -> bool:
        """No harness to ask: is it certain that no turn runs?"""
        statuses = await self._broker.agents()
        if statuses is None:
            return False
        return idle_evidence(statuses.get(self._uid), self._see(), self._broker.up_for, time.time())


def idle_evidence(
    status: AgentStatus | None, seen: Observed | None, broker_up_for: float, now: float
) -> bool:
    """True when no turn can run although no harness says so.

    That is: nothing lives; or no hello came since the container's start; or the harness
    is away for long and its container has no process but PID 1.
    """
    if seen is None or seen.tasks == 0:
        return True
    if status is not None and status.ready:
        return False
    if broker_up_for < BROKER_SETTLED or seen.started is None:
        return False
    last = status.last_seen if status is not None else None
    if last is None and status is not None and status.boot is not None:
        # The broker forgot when it last heard of it: a hello before the broker's start may be
        # this container's, and its harness on the way back.
        if seen.age is not None and seen.age < broker_up_for:
            return True
        return broker_up_for >= HARNESS_AWAY and seen.tasks == 1
    if last is None or (last < seen.started and not _clock_was_set(seen, now)):
        return True
    return now - last >= HARNESS_AWAY and seen.tasks == 1


def _clock_was_set(seen: Observed, now: float) -> bool:
    """Whether its start and `now` are times of one clock: else before and after mean nothing."""
    if seen.started is None or seen.age is None:
        return seen.started is None or seen.started > now
    return abs(now - seen.age - seen.started) > CLOCK_TOLERANCE
