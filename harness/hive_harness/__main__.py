"""`python -m hive_harness`: PID 1 of the container, or a plain process in tests."""

from __future__ import annotations

import signal
import sys

# They take OpenSSL along for sockets that are never opened here and for digests that Python
# has by itself: several MiB in every container.
for _unused in ("ssl", "_hashlib"):
    sys.modules[_unused] = None  # type: ignore[assignment]

import asyncio  # noqa: E402
import logging  # noqa: E402

from .app import Unkillable, serve  # noqa: E402
from .settings import Settings, parse  # noqa: E402
from .spool import SpoolBusy  # noqa: E402
from .wakeup import install  # noqa: E402

_STOP = (signal.SIGTERM, signal.SIGINT)


async def _run(settings: Settings, came_early: list[int]) -> None:
    stop = asyncio.Event()
    for number in _STOP:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if came_early:
        stop.set()
    await serve(settings, stop)


def main() -> int:
    """0 after an orderly stop, 1 when the harness cannot run; stderr says why."""
    # First of all: PID 1 without a handler ignores the signal.
    came_early: list[int] = []
    for number in _STOP:
        signal.signal(number, lambda n, _: came_early.append(n))
    settings = parse()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        install(settings.commands, settings.run)
        asyncio.run(_run(settings, came_early))
    except (SpoolBusy, Unkillable, OSError) as error:
        print(f"hive-harness: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
