"""Looking: what is wanted and what there is, or the named reason why nothing can be concluded."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable

from ..git.errors import HistoryRewritten, HiveError, UnrecordedCommit
from ..git.hive import Hive
from ..runtime.base import Runtime, RuntimeFailure
from ..runtime.toolchain import NoTool
from .containers import Toolchain
from .files import NO_SPACE, full_disk
from .picture import Picture

READ_DEADLINE = 60.0  # seconds
OBSERVE_DEADLINE = 30.0
TOOLS_DEADLINE = 60.0


async def look(
    picture: Picture, hive: Hive, runtime: Runtime, find_toolchain: Callable[[], Toolchain]
) -> tuple[str, str] | None:
    """Fill the picture; None, or reason and message of what stops the whole swarm."""
    try:
        async with asyncio.timeout(TOOLS_DEADLINE):
            picture.toolchain = await asyncio.to_thread(find_toolchain)
        await observe(picture, runtime)
        async with asyncio.timeout(READ_DEADLINE):
            desired = await hive.read()
        await picture.want(desired)
    except RuntimeFailure as error:
        return full_disk(error.message) or (error.reason, error.message)
    except NoTool as error:
        return "NoToolchain", str(error)
    except (HistoryRewritten, UnrecordedCommit) as error:
        return type(error).__name__, error.message
    except HiveError as error:
        return full_disk(error.message) or ("ReadFailed", error.message)
    except TimeoutError:
        return "Deadline", "git or the runtime did not answer in time; it is asked again"
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return full_disk(NO_SPACE)
        return "ReadFailed", str(error)
    return None


async def observe(picture: Picture, runtime: Runtime) -> None:
    """Look at the containers now. Raises RuntimeFailure, TimeoutError."""
    async with picture.looking:
        async with asyncio.timeout(OBSERVE_DEADLINE):
            observed = await runtime.observe()
        await picture.look(observed)
