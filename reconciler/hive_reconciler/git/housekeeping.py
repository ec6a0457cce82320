"""Keeping repositories small: at our own time (gc.auto = 0), and so that a power cut at any moment
takes nothing. What holds an object or a ref is on disk, name and all, before another copy of it
goes; `git gc` waits for contents only."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import time
from pathlib import Path

from . import packdir
from .durable import sync_tree
from .store import open_bare

log = logging.getLogger(__name__)

EVERY = 6 * 3600.0  # seconds
DEADLINE = 1800.0
LOOSE = 1000  # objects; fewer are left as they are
PACKS = 20
KEEP = 14 * 86400.0  # seconds, for what nothing refers to, such as a push that is under way
_PACKING = (
    *("--all", "--reflog", "--indexed-objects", "--honor-pack-keep", "--local", "--non-empty"),
    *("--delta-base-offset", "--write-bitmap-index", "-q"),
)
_ALL_ELSE = ("--keep-unreachable", "--pack-loose-unreachable")


async def keep_small(hive_git: Path, inbox_git: Path) -> None:
    """Until cancelled. What fails is tried again the next time."""
    while True:
        await collect(hive_git)
        await collect(inbox_git, forgets=True)
        await asyncio.sleep(EVERY)


async def collect(path: Path, *, forgets: bool = False) -> None:
    """Pack a repository if it has many files. Reading and writing go on meanwhile, and a writer
    may count on any object that it finds: so none ever goes, but from one that `forgets` what
    nothing refers to. git alone writes there, and makes young again what it finds."""
    git = shutil.which("git")
    if git is None:
        return  # nothing was ever brought in either
    try:
        if not await asyncio.to_thread(_has_many, path):
            return
        before = await asyncio.to_thread(packdir.indexes, path)
        what = _PACKING if forgets else (*_PACKING, *_ALL_ELSE)
        await _run(git, path, "pack-objects", *what, str(path / "objects/pack/pack"))
        await asyncio.to_thread(_replace, path, before, time.time() - KEEP)
        if forgets:
            await _run(git, path, "prune", f"--expire={int(KEEP)}.seconds.ago")
    except TimeoutError:
        log.warning("git of %s did not end within %.0f s", path, DEADLINE)
    except OSError as error:
        log.warning("%s is not packed: %s", path, error)


def _has_many(path: Path) -> bool:
    loose = sum(len(os.listdir(folder)) for folder in (path / "objects").glob("??"))
    return loose >= LOOSE or len(packdir.indexes(path)) > PACKS


def _replace(path: Path, before: set[Path], old: float) -> None:
    """What is to stay is packed: once that is on disk, the other copies go."""
    sync_tree(path / "objects/pack")
    packdir.drop_copies(path, before, old)
    packdir.drop_leftovers(path, old)
    repo = open_bare(path)
    try:
        repo.compress_references()  # it, too, waits for the name before it removes a ref's file
    finally:
        repo.free()


async def _run(git: str, path: Path, *arguments: str) -> None:
    """Raises OSError, TimeoutError."""
    child = await asyncio.create_subprocess_exec(
        *(git, f"--git-dir={path}", "-c", "core.fsync=all", *arguments),
        env={"PATH": os.environ.get("PATH", ""), "GIT_CONFIG_NOSYSTEM": "1", "HOME": "/"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(DEADLINE):
            _, errors = await child.communicate()
        if child.returncode:
            said = errors.decode(errors="replace")[-500:]
            raise OSError(f"git {arguments[0]}: {said}")
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
