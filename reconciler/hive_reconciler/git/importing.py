"""Bringing a commit in from somebody not trusted: pack → quarantine → values in memory.

`git index-pack --strict` runs as nobody in a quarantine whose only alternate is hive.git. What
it accepted is counted, measured and read; hive.git itself sees nothing of it before the
checks have passed.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pygit2
from pygit2.enums import ObjectType

from . import jail
from .errors import Refused
from .store import create_bare, open_bare
from .trees import Raw, referred

MAX_PACK = 16 << 20  # bytes
MAX_OBJECTS = 5000
MAX_CONTENT = 64 << 20  # bytes of all objects, unpacked
MAX_COMMITS = 200
SECONDS = 60.0  # from the first byte to the last
NOBODY = 65534
_CPU, _MEMORY = 20, 512 << 20  # seconds, bytes
_OID = re.compile(r"[0-9a-f]{40}")
_NAMED = re.compile(r"[0-9a-f]{7,40}")


Write = Callable[[bytes], Awaitable[None]]
# Brings a commit: called with what hive.git has and a function that takes the bytes of a pack
# without that; returns the full OID. What it raises reaches the caller of `submit_commit`.
Fetch = Callable[[tuple[str, ...], Write], Awaitable[str]]


@dataclass(frozen=True)
class Imported:
    """A commit whose objects hive.git may lack."""

    commit: str
    tree: str
    base: str  # the merge base with `applied`
    objects: Mapping[str, Raw]  # all that is reachable from it and not in hive.git


class Quarantine:
    """A bare repository for one pack. Use it as an async context manager."""

    def __init__(self, parent: Path, hive_git: Path) -> None:
        self._parent = parent
        self._objects = hive_git / "objects"
        self.path = Path()

    async def __aenter__(self) -> Quarantine:
        self.path = await asyncio.to_thread(self._make)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(shutil.rmtree, self.path, True)

    async def receive(self, named: str, have: tuple[str, ...], fetch: Fetch) -> str:
        """Index what `fetch` writes; the OID that it names. Raises Refused, and what it raises."""
        if not _NAMED.fullmatch(named):
            raise Refused(f"{named[:60]!r} is no commit id: 7 to 40 of 0-9 and a-f")
        child = await self._start()
        assert child.stdin is not None
        assert child.stderr is not None
        said = asyncio.create_task(child.stderr.read(4096))
        try:
            async with asyncio.timeout(SECONDS):
                oid = await fetch(have, _writer(child.stdin))
                child.stdin.close()
                status = await child.wait()
        except TimeoutError:
            raise Refused(f"the commit did not arrive within {SECONDS:g} s") from None
        finally:
            await _end(child)
            errors = (await said).decode(errors="replace")
        if status:
            raise Refused(f"the commit cannot be taken: {_last_line(errors, status)}")
        if not _OID.fullmatch(oid) or not oid.startswith(named):
            raise Refused(f"another commit came than {named}")
        return oid

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *jailed(self.path, self._objects),
            *(
                git_program(),
                "-c",
                "core.bigFileThreshold=1m",
                "-c",
                "core.packedGitWindowSize=16m",
            ),
            *("-c", "pack.threads=1", "index-pack", "--stdin", "--strict"),
            f"--max-input-size={MAX_PACK}",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )

    def _make(self) -> Path:
        self._parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(dir=self._parent, prefix="pack-"))
        create_bare(path, {}, 0o755).free()
        if os.geteuid() == 0:  # the child writes there, and nowhere else
            os.chown(path / "objects/pack", NOBODY, NOBODY)
        return path


def git_program() -> str:
    """The path of git. Raises Refused."""
    found = shutil.which("git")
    if found is None:
        raise Refused("git is not installed on this host; commits cannot be taken")
    return found


def jailed(directory: Path, objects: Path, gid: int = NOBODY) -> tuple[str, ...]:
    """The front of a command line that runs git over `directory` as nobody, with limits."""
    limits = (str(_CPU), str(_MEMORY), str(4 * MAX_PACK))
    who = (str(NOBODY), str(gid))
    return (sys.executable, "-IS", jail.__file__, *who, str(directory), str(objects), *limits)


def collect(quarantine: Path, hive: pygit2.Repository, oid: str, tip: str) -> Imported:
    """Read what the pack brought, within bounds. In the git thread. Raises Refused."""
    (quarantine / "objects/info/alternates").write_text(f"{hive.path}objects\n")
    repo = open_bare(quarantine)
    try:
        objects = _reachable(repo, hive, oid)
        base = repo.merge_base(pygit2.Oid(hex=tip), pygit2.Oid(hex=oid))
        if base is None:
            raise Refused(f"commit {oid[:12]} shares no history with applied")
        tree = str(repo[oid].peel(pygit2.Tree).id)
        return Imported(oid, tree, str(base), objects)
    except (KeyError, ValueError, pygit2.GitError) as error:
        raise Refused(f"commit {oid[:12]} is not complete: {error}") from None
    finally:
        repo.free()


def _reachable(repo: pygit2.Repository, hive: pygit2.Repository, oid: str) -> dict[str, Raw]:
    """Objects that hive.git lacks, by OID. What a pack brings beside them is left behind."""
    if _kind(repo, oid) != ObjectType.COMMIT:
        raise Refused(f"{oid[:12]} is no commit")
    found: dict[str, Raw] = {}
    content = commits = 0
    todo = [oid]
    while todo:
        oid = todo.pop()
        known = pygit2.Oid(hex=oid)
        if oid in found or known in hive:
            continue
        content += repo.odb.read_header(known)[1]
        if content > MAX_CONTENT or len(found) >= MAX_OBJECTS:
            raise Refused(
                f"the commit brings too much: {MAX_OBJECTS} objects and {MAX_CONTENT >> 20} MiB "
                "are the most"
            )
        kind, data = repo.odb.read(known)
        commits += int(kind) == ObjectType.COMMIT
        if commits > MAX_COMMITS:
            raise Refused(f"more than {MAX_COMMITS} commits are not in applied; squash them")
        found[oid] = (int(kind), data)
        todo += referred(found[oid])
    return found


def _kind(repo: pygit2.Repository, oid: str) -> int:
    try:
        return int(repo.odb.read_header(pygit2.Oid(hex=oid))[0])
    except (KeyError, pygit2.GitError):
        raise Refused(f"there is no commit {oid[:12]} in what was sent") from None


def _writer(stdin: asyncio.StreamWriter) -> Write:
    """Refuses more than MAX_PACK; a child that has ended is told by its exit status."""
    written = 0

    async def write(data: bytes) -> None:
        nonlocal written
        written += len(data)
        if written > MAX_PACK:
            raise Refused(f"the commit brings more than {MAX_PACK >> 20} MiB; make it smaller")
        try:
            stdin.write(data)
            await stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            pass

    return write


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        child.kill()
        await child.wait()


def _last_line(errors: str, status: int) -> str:
    lines = [line for line in errors.splitlines() if line.strip()]
    if status < 0:
        return "it does not fit the limits of time and memory"
    text = "; ".join(lines[-2:]) or f"git index-pack ended with {status}"
    return re.sub(r"[^ -~]", "?", text)[:300]
