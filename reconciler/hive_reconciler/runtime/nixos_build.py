"""From a commit of hive.git to the store path of a container's system.

Evaluation runs an approved commit's Nix code, purely and as an unprivileged user where there is
one. Each build has a directory of its own: `nix build` of two in one directory can swap results.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import pwd
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from ..model.glue import flake_nix
from .base import RuntimeFailure
from .nixos_conf import SYSTEM
from .nixos_host import Done, run

EVAL_USER = "hive-eval"
BUILD_SECONDS = 1800.0
AT_ONCE = 2


@dataclass(frozen=True)
class Identity:
    uid: int
    gid: int


def eval_identity() -> Identity | None:
    """The unprivileged user to evaluate as; None when we are unprivileged or there is none."""
    if os.geteuid() != 0:
        return None
    try:
        found = pwd.getpwnam(EVAL_USER)
    except KeyError:
        return None
    return Identity(found.pw_uid, found.pw_gid)


class Builder:
    """Builds in directories under `work`, from the bare repository `repository`.

    `flake` is the hyperhive to build with; empty where only looking and stopping is asked.
    """

    def __init__(
        self,
        repository: Path,
        work: Path,
        flake: str,
        *,
        identity: Identity | None = None,
    ) -> None:
        self._repository = repository
        self._work = work
        self._identity = identity
        self._flake = flake
        self._slots = asyncio.Semaphore(AT_ONCE)

    def current(self, _container: str) -> str | None:
        """The system that must run, where that is known without a build: here never."""
        return None

    async def build(self, commit: str, container: str, keep: Callable[[str], None]) -> str:
        """The store path of the system. `keep` makes it safe from garbage collection, before
        the build's own root goes. Raises RuntimeFailure."""
        if not self._flake:
            raise RuntimeFailure(
                "NoFlake",
                "HIVE_FLAKE names no flake of hyperhive; services.hive-c0re sets it",
                permanent=True,
            )
        async with self._slots, self._directory() as directory:
            source = directory / "source"
            await self._export(commit, source)
            done = await self._nix(directory, source, container)
            if not done.ok:
                raise RuntimeFailure(
                    "BuildFailed", f"{container} of {commit[:12]}: {done.last_words(20)}"
                )
            system = await asyncio.to_thread(os.path.realpath, directory / "result")
            if not SYSTEM.fullmatch(system):
                raise RuntimeFailure("BuildFailed", f"{container}: nix made {system[:80]!r}")
            keep(system)
            return system

    @contextlib.asynccontextmanager
    async def _directory(self) -> AsyncIterator[Path]:
        directory = await asyncio.to_thread(self._make)
        try:
            yield directory
        finally:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    def _make(self) -> Path:
        self._work.mkdir(mode=0o711, parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(dir=self._work))
        for part in ("source", "home"):
            (directory / part).mkdir()
            if self._identity is not None:
                os.chown(directory / part, self._identity.uid, self._identity.gid)
        if self._identity is not None:
            os.chown(directory, self._identity.uid, self._identity.gid)
        return directory

    async def _export(self, commit: str, source: Path) -> None:
        """The tree of the commit as plain files: nix sees no repository, and needs no git."""
        archive = source.parent / "source.tar"
        git = ("git", "--git-dir", str(self._repository))
        packed = await run(*git, "archive", "--format=tar", f"--output={archive}", commit)
        if not packed.ok:
            raise RuntimeFailure("ReadFailed", f"hive.git has no {commit}: {packed.last_words()}")
        os.chmod(archive, 0o644)
        unpacked = await self._run(source, "tar", "-x", "-f", str(archive))
        if not unpacked.ok:
            raise RuntimeFailure("ReadFailed", f"{commit}: {unpacked.last_words()}")
        await asyncio.to_thread(complete, source)

    async def _nix(self, directory: Path, source: Path, container: str) -> Done:
        attribute = f'nixosConfigurations."{container}".config.system.build.toplevel'
        return await self._run(
            directory,
            *("nix", "--extra-experimental-features", "nix-command flakes", "build"),
            *("--option", "accept-flake-config", "false", "--no-write-lock-file"),
            *("--out-link", str(directory / "result")),
            *("--override-input", "hyperhive", self._flake),
            f"path:{source}#{attribute}",
            seconds=BUILD_SECONDS,
        )

    async def _run(self, directory: Path, *argv: str, seconds: float = 60.0) -> Done:
        home = directory / "home"
        environment = {
            name: value
            for name, value in os.environ.items()
            if name in ("PATH", "NIX_REMOTE", "NIX_CONFIG", "NIX_PATH", "LANG", "SSL_CERT_FILE")
        } | {"HOME": str(home), "TMPDIR": str(directory)}
        return await run(
            *argv,
            seconds=seconds,
            cwd=directory,
            environment=environment,
            user=None if self._identity is None else self._identity.uid,
            group=None if self._identity is None else self._identity.gid,
        )


def complete(source: Path) -> None:
    """Put the glue where a repository has none."""
    flake = source / "flake.nix"
    if not os.path.lexists(flake):
        flake.write_text(flake_nix(platform.machine()))
