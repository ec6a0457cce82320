"""The manager's clone of the applied branch: made once, and packed from on request."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import re
import shutil
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from hive_wire.rpc_errors import NOT_FOUND, REFUSED, UNAVAILABLE, RpcError

from .processes import Children

log = logging.getLogger(__name__)

MAX_PACK = 64 << 20  # bytes
MAX_TIME = 60.0  # seconds for one export
CHUNK = 512 << 10  # bytes before base64
MAX_HAVE = 10_000
# Deltas on what the asker has: of a large tree come the lines that differ.
PACKING = ("-q", "--revs", "--thin", "--delta-base-offset", "--stdout")
_SHORT = re.compile(r"[0-9a-f]{7,40}")
_OID = re.compile(r"[0-9a-f]{40}")


class GitFailed(Exception):
    """A git command failed; the message is what it said."""


class Clone:
    """`path` is the agent's own: after it was made, only objects of it are read."""

    def __init__(self, path: Path, applied: Path, name: str, children: Children) -> None:
        self._path = path
        self._applied = applied
        self._name = name
        self._children = children
        self._one = asyncio.Lock()

    @property
    def exists(self) -> bool:
        return (self._path / ".git").exists()

    async def make(self) -> None:
        """Clone, unless it is there. Raises GitFailed."""
        async with self._one:
            if self.exists:
                return
            await self._trust()
            half = self._path.with_name(self._path.name + ".new")
            await asyncio.to_thread(shutil.rmtree, half, True)
            branch = ("--branch", "applied", "--origin", "applied", "--no-hardlinks")
            await self._git("clone", "--quiet", *branch, str(self._applied), str(half))
            # Its HEAD would make the word "applied" ambiguous: remote or branch?
            await self._git("-C", str(half), "remote", "set-head", "applied", "--delete")
            for key, value in (
                ("remote.applied.followRemoteHEAD", "never"),
                ("user.name", self._name),
                ("user.email", f"{self._name}@hive.invalid"),
            ):
                await self._git("-C", str(half), "config", key, value)
            try:
                os.rename(half, self._path)
            except OSError as error:
                raise GitFailed(
                    f"{self._path} is in the way ({error.strerror}); move away what lies there"
                ) from None

    async def export(
        self, commit: str, have: Sequence[str]
    ) -> tuple[str, AsyncGenerator[bytes, None]]:
        """The full id of `commit`, and a pack of what it has beyond `have`.

        Raises RpcError: REFUSED, NOT_FOUND; the pack's iterator raises it as well.
        """
        if not _SHORT.fullmatch(commit):
            raise RpcError(REFUSED, f"{commit[:60]!r} is no commit id: give 7 to 40 hex digits")
        if len(have) > MAX_HAVE or not all(_OID.fullmatch(oid) for oid in have):
            raise RpcError(REFUSED, f"`have` is a list of at most {MAX_HAVE} full commit ids")
        try:
            async with self._one, asyncio.timeout(MAX_TIME):
                await self._git("-C", str(self._path), "fetch", "--quiet", "applied")
                oid = await self._resolve(commit)
                known = await self._commits(have)
        except GitFailed as error:
            raise RpcError(UNAVAILABLE, f"the clone cannot be read: {error}") from None
        except TimeoutError:
            raise RpcError(UNAVAILABLE, f"git took more than {MAX_TIME:.0f} s") from None
        return oid, self._pack(oid, known)

    # -- inside ----------------------------------------------------------------

    async def _resolve(self, short: str) -> str:
        """Object names only: a branch that is called like a commit does not count."""
        found = await self._git("-C", str(self._path), "rev-parse", f"--disambiguate={short}")
        commits = await self._commits(found.split())
        if not commits:
            raise RpcError(
                NOT_FOUND,
                f"there is no commit {short} in {self._path}; was it committed there?",
            )
        if len(commits) > 1:
            raise RpcError(REFUSED, f"{short} is ambiguous: {', '.join(commits[:5])}")
        return commits[0]

    async def _commits(self, oids: Sequence[str]) -> list[str]:
        """Those of `oids` that are commits here."""
        lines = "".join(f"{oid}\n" for oid in oids)
        answer = await self._git(
            "-C",
            str(self._path),
            "cat-file",
            "--batch-check=%(objectname) %(objecttype)",
            feed=lines,
        )
        return [line.split()[0] for line in answer.splitlines() if line.endswith(" commit")]

    async def _pack(self, oid: str, known: Sequence[str]) -> AsyncGenerator[bytes, None]:
        revisions = "".join(f"{line}\n" for line in (oid, *(f"^{k}" for k in known)))
        pipe, argv = asyncio.subprocess.PIPE, ("pack-objects", *PACKING)
        sent = 0
        try:
            async with (
                self._one,
                asyncio.timeout(MAX_TIME),
                self._children.run(
                    *("git", "-C", str(self._path), *argv), stdin=pipe, stdout=pipe, stderr=pipe
                ) as git,
            ):
                assert git.stdin is not None
                assert git.stdout is not None
                assert git.stderr is not None
                git.stdin.write(revisions.encode())
                git.stdin.close()
                while chunk := await _exactly(git.stdout, CHUNK):
                    sent += len(chunk)
                    if sent > MAX_PACK:
                        raise RpcError(
                            REFUSED,
                            f"{oid[:12]} needs a pack of more than {MAX_PACK >> 20} MiB; "
                            "take large files out of the commit",
                        )
                    yield chunk
                said = (await git.stderr.read()).decode(errors="replace").strip()
                if await git.wait() != 0:
                    raise RpcError(UNAVAILABLE, f"git pack-objects failed: {said[-500:]}")
        except TimeoutError:
            raise RpcError(UNAVAILABLE, f"packing took more than {MAX_TIME:.0f} s") from None

    async def _trust(self) -> None:
        """Let git read `applied` whoever owns it. Git believes only the global file here."""
        key = ("config", "--global", "--get-all", "safe.directory")
        try:
            trusted = (await self._git(*key)).splitlines()
        except GitFailed:  # the key is not there
            trusted = []
        if str(self._applied) not in trusted:
            await self._git("config", "--global", "--add", "safe.directory", str(self._applied))

    async def _git(self, *argv: str, feed: str = "") -> str:
        """What git prints. Raises GitFailed."""
        pipe = asyncio.subprocess.PIPE
        try:
            async with self._children.run(
                "git", *argv, stdin=pipe, stdout=pipe, stderr=pipe
            ) as git:
                out, said = await git.communicate(feed.encode())
        except OSError as error:
            raise GitFailed(f"git cannot be started: {error.strerror}") from None
        if git.returncode != 0:
            raise GitFailed(said.decode(errors="replace").strip()[-500:] or "no message")
        return out.decode(errors="replace")


async def _exactly(stream: asyncio.StreamReader, size: int) -> bytes:
    """`size` bytes, fewer only at the end."""
    try:
        return await stream.readexactly(size)
    except asyncio.IncompleteReadError as error:
        return error.partial


def as_chunk(stream: object, data: bytes) -> dict[str, object]:
    """The params of a `chunk` notification."""
    return {"stream": stream, "data": base64.b64encode(data).decode()}
