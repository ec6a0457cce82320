"""Stops every container within seconds; turns that are cut short go on at the next start."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from ..runtime.base import Observed, Phase, Runtime, RuntimeFailure
from .broker import Broker
from .drain import Drain
from .operations import NOW_GRACE

DEADLINE = 20.0  # seconds


async def stop_all(
    runtime: Runtime, broker: Broker, by: str, stopping: Callable[[str], None]
) -> list[str]:
    """The containers that were stopped. `stopping` is told each uid before. Raises RuntimeFailure
    with all that did not stop, once every other one has."""
    live = [o for o in await runtime.observe() if o.phase is not Phase.STOPPED]

    async def stop(seen: Observed) -> None:
        token = f"down-{seen.uid}"
        drain = Drain(broker, seen.uid, token, see=lambda: seen, say=lambda *_: None)
        try:
            if seen.phase is not Phase.BROKEN and broker.link.is_up:
                await drain.now(by)
            stopping(seen.uid)
            async with asyncio.timeout(DEADLINE):
                await runtime.stop(seen.name, NOW_GRACE)
        finally:
            await drain.end()

    return await each(live, stop)


async def each(live: Sequence[Observed], stop: Callable[[Observed], Awaitable[None]]) -> list[str]:
    """Stop all of them beside one another; one that fails is in the way of no other.

    Their names. Raises RuntimeFailure when all others have ended."""
    done = await asyncio.gather(*(stop(one) for one in live), return_exceptions=True)
    failed = {o.name: e for o, e in zip(live, done, strict=True) if e is not None}
    if failed:
        why = "; ".join(f"{name}: {_words(error)}" for name, error in sorted(failed.items()))
        stopped = ", ".join(o.name for o in live if o.name not in failed) or "nothing else"
        raise RuntimeFailure("StopFailed", f"not stopped: {why} (stopped: {stopped})")
    return [one.name for one in live]


def _words(error: BaseException) -> str:
    if isinstance(error, RuntimeFailure):
        return error.message
    if isinstance(error, TimeoutError):
        return "it did not end in time"
    return f"{type(error).__name__}: {error}"
