"""Our own schedule of `git gc`: git itself may not choose the moment (gc.auto = 0)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
from pathlib import Path

log = logging.getLogger(__name__)

EVERY = 6 * 3600.0  # seconds
DEADLINE = 1800.0
LOOSE = 1000  # objects; fewer are left as they are
KEEP = "2.weeks.ago"  # what nothing refers to, such as a proposal that is being made


async def keep_small(repositories: tuple[Path, ...]) -> None:
    """Until cancelled. What fails is tried again the next time."""
    while True:
        for path in repositories:
            await collect(path)
        await asyncio.sleep(EVERY)


async def collect(path: Path) -> None:
    """Pack a repository if it has many loose objects. Reading and writing go on meanwhile."""
    git = shutil.which("git")
    if git is None:
        return  # nothing was ever brought in either
    settings = (
        f"gc.auto={LOOSE}",
        "gc.autoDetach=false",
        f"gc.pruneExpire={KEEP}",
        "core.fsync=all",  # what is packed is removed where it was on disk
    )
    try:
        child = await asyncio.create_subprocess_exec(
            *(git, f"--git-dir={path}"),
            *(word for setting in settings for word in ("-c", setting)),
            *("gc", "--auto", "--quiet"),
            env={"PATH": os.environ.get("PATH", ""), "GIT_CONFIG_NOSYSTEM": "1", "HOME": "/"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        log.warning("git gc of %s: %s", path, error)
        return
    try:
        async with asyncio.timeout(DEADLINE):
            _, errors = await child.communicate()
        if child.returncode:
            log.warning("git gc of %s: %s", path, errors.decode(errors="replace")[-500:])
    except TimeoutError:
        log.warning("git gc of %s did not end within %.0f s", path, DEADLINE)
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
