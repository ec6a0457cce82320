"""A manager's clone made with the real git, and a fetch that packs from it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

from hive_reconciler.git.hive import Hive
from hive_reconciler.git.jail import PACKING
from hive_reconciler.model.desired import Valid
from hive_reconciler.model.proposal import Requester

ENVIRONMENT = {
    **os.environ,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "an agent",
    "GIT_AUTHOR_EMAIL": "agent@hive",
    "GIT_COMMITTER_NAME": "an agent",
    "GIT_COMMITTER_EMAIL": "agent@hive",
}
Write = Callable[[bytes], Awaitable[None]]
Push = Callable[[str], None]
"""Puts the clone's HEAD under a topic into inbox.git."""


def git(folder: Path, *arguments: str, stdin: bytes | None = None) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        input=stdin,
        capture_output=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


class Clone:
    """Like the manager's /hive."""

    def __init__(self, hive_git: Path, path: Path) -> None:
        self.path = path
        git(path.parent, "clone", "-q", "-o", "applied", str(hive_git), str(path))

    def pull(self) -> None:
        git(self.path, "fetch", "-q", "applied")
        git(self.path, "reset", "-q", "--hard", "applied/applied")

    def write(self, path: str, content: str | bytes) -> None:
        file = self.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    def read(self, path: str) -> str:
        return (self.path / path).read_text()

    def commit(self, message: str = "change") -> str:
        git(self.path, "add", "-A")
        git(self.path, "commit", "-q", "--allow-empty", "-m", message)
        return git(self.path, "rev-parse", "HEAD")

    def change(self, path: str, content: str | bytes, message: str = "change") -> str:
        self.write(path, content)
        return self.commit(message)

    def pack(self, commit: str, have: tuple[str, ...]) -> bytes:
        known = [h for h in have if self.has(h)]
        revisions = "\n".join([commit, *(f"^{oid}" for oid in known)]) + "\n"
        return subprocess.run(
            ["git", "-C", str(self.path), "pack-objects", *PACKING],
            input=revisions.encode(),
            capture_output=True,
            check=True,
            env=ENVIRONMENT,
        ).stdout

    def has(self, oid: str) -> bool:
        command = ["git", "-C", str(self.path), "cat-file", "-e", oid]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def fetch(self, commit: str) -> Callable[[tuple[str, ...], Write], Awaitable[str]]:
        """What the harness does for `export`."""

        async def fetch(have: tuple[str, ...], write: Write) -> str:
            data = await asyncio.to_thread(self.pack, commit, have)
            for start in range(0, len(data), 65536):
                await write(data[start : start + 65536])
            return await asyncio.to_thread(git, self.path, "rev-parse", commit)

        return fetch


async def manager_of(hive: Hive) -> Requester:
    for name, entry in (await hive.read()).agents.items():
        if isinstance(entry, Valid) and entry.spec.role == "manager":
            assert entry.spec.uid is not None
            return Requester.agent(entry.spec.uid, name)
    raise AssertionError("no manager")


async def spec_of(hive: Hive, name: str) -> Valid:
    entry = (await hive.read()).agents[name]
    assert isinstance(entry, Valid), entry
    return entry


async def approve(hive: Hive, n: int) -> str:
    proposal = await hive.proposal(n)
    assert proposal.effect is not None
    return await hive.approve(n, proposal.effect.digest, "root")


async def spawned(hive: Hive, requester: Requester, name: str) -> int:
    done = await hive.submit_spawn(requester, name, name)
    await approve(hive, done.n)
    return done.n
