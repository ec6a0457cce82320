"""What Nix makes of a tree that nobody approved: evaluated and dry-built, never built.

Nix runs purely, as an unprivileged user, with limits on time, memory, files and output, and
without network: even pure code may fetch. Only what is applied, and so approved, may have it.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import shutil
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from hive_wire.paths import Layout

from ..model.build import System
from ..model.tree import FileChange
from .base import RuntimeFailure
from .nixos_build import EVAL_USER, Identity, complete, eval_identity
from .nixos_host import Done, run

SECONDS = 300.0  # for all systems of one tree
CPU_SECONDS = 300
MEMORY = 6 << 30  # bytes of address space; NixOS itself takes 1 to 2 GiB
FILE = 1 << 30
_READ = """c: {
  drv = c.system.build.toplevel.drvPath;
  packages = map (p: [
    (p.pname or (builtins.parseDrvName (p.name or "")).name)
    (p.version or (builtins.parseDrvName (p.name or "")).version)
  ]) c.environment.systemPackages;
  units = builtins.mapAttrs (_: u: builtins.hashString "sha256"
    (builtins.unsafeDiscardStringContext (u.text or ""))) (c.systemd.units or { });
}"""
_OFFLINE = ("unable to download", "Could not resolve", "unable to fetch")
_HOST = (
    "cannot connect to socket",
    "No space left on device",
    "error: opening lock file",
    "database disk image is malformed",
    "Permission denied",
)
_MEMORY = ("out of memory", "Out of memory", "std::bad_alloc", "GC Warning: Failed to expand heap")
_PLACE = re.compile(r"/nix/store/[^/\s]+-source/([^\s:]+):(\d+):\d+:")
_DRV = re.compile(r"/nix/store/[0-9a-z]{32}-[0-9A-Za-z+._?=-]+\.drv")
_AT = re.compile(r"\n\s+(?=at [/«])")
_DRY = re.compile(r"(?:these )?(\d+|this|this path) (derivations?|paths?) will be (built|fetched)")


def evaluator(layout: Layout, runtime: str) -> Evaluator | str:
    """What evaluates on this host, or why nothing does."""
    flake = os.environ.get("HIVE_FLAKE", "")
    identity = eval_identity()
    if runtime != "nixos":
        return f"Nix files are read on hosts that run NixOS, and the runtime here is {runtime}"
    if not flake:
        return "HIVE_FLAKE names no flake of hyperhive; services.hive-c0re sets it"
    if shutil.which("nix") is None:
        return "there is no nix on PATH"
    if identity is None:
        return f"there is no user {EVAL_USER} to evaluate as; services.hive-c0re makes it"
    return Evaluator(layout.hive_git, layout.root / "builds", flake, identity=identity)


class Fault(Enum):
    AUTHOR = "it is in the files"
    HOST = "it is in this host"
    MISSING = "something would have to be fetched"


class Unevaluated(Exception):
    """Why there is no result."""

    def __init__(self, message: str, fault: Fault) -> None:
        super().__init__(message)
        self.message = message
        self.fault = fault


@dataclass(frozen=True)
class Source:
    """A tree of hive.git, and what is changed over it."""

    tree: str
    changes: tuple[FileChange, ...] = ()


class Evaluator:
    """Works in directories under `work`, from the bare repository `repository`.

    `flake` is the hyperhive to evaluate with.
    """

    def __init__(
        self, repository: Path, work: Path, flake: str, *, identity: Identity | None = None
    ) -> None:
        self.flake = flake
        self._repository = repository
        self._work = work
        self._identity = identity

    async def systems(
        self, source: Source, containers: Sequence[str], *, network: bool = False
    ) -> dict[str, System]:
        """Evaluate the systems of these containers. `network` lets the code fetch what the store
        lacks: for approved trees only. Raises Unevaluated."""
        found = {}
        try:
            async with asyncio.timeout(SECONDS), self._unpacked(source) as directory:
                for name in containers:
                    found[name] = await self._system(directory, name, network=network)
        except TimeoutError:
            message = f"takes longer than {SECONDS:g} s to evaluate"
            raise Unevaluated(message, Fault.AUTHOR) from None
        return found

    @contextlib.asynccontextmanager
    async def _unpacked(self, source: Source) -> AsyncIterator[Path]:
        """A directory with `source` as plain files."""
        directory = await asyncio.to_thread(self._make)
        try:
            await self._unpack(directory, source)
            yield directory
        finally:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    async def _system(self, directory: Path, container: str, *, network: bool) -> System:
        attribute = f'path:{directory / "source"}#nixosConfigurations."{container}".config'
        argv = (
            *("nix", "--extra-experimental-features", "nix-command flakes", "eval", "--json"),
            *("--option", "accept-flake-config", "false"),
            *("--option", "allow-import-from-derivation", "false"),
            *("--no-update-lock-file", "--no-write-lock-file"),
            *("--override-input", "hyperhive", self.flake, attribute, "--apply", _READ),
        )
        done = await self._limited(directory, argv)
        if network and not done.ok and _is_offline(done):
            done = await self._limited(directory, argv, network=True)
        if not done.ok:
            raise _explained(container, done)
        return await self._dry_built(directory, container, _parsed(container, done.out))

    async def _dry_built(self, directory: Path, container: str, system: System) -> System:
        done = await self._limited(directory, ("nix-store", "--realise", "--dry-run", system.drv))
        if not done.ok:
            raise _explained(container, done)
        counts = {"built": 0, "fetched": 0}
        for number, _, what in _DRY.findall(done.err):
            counts[what] = int(number) if number.isdecimal() else 1
        return System(system.drv, system.packages, system.units, counts["built"], counts["fetched"])

    # -- files -----------------------------------------------------------------------

    def _make(self) -> Path:
        self._work.mkdir(mode=0o711, parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(prefix="eval-", dir=self._work))
        for made in (directory / "source", directory / "home", directory):
            made.mkdir(exist_ok=True)
            if self._identity is not None:
                os.chown(made, self._identity.uid, self._identity.gid)
        return directory

    async def _unpack(self, directory: Path, source: Source) -> None:
        """By the unprivileged user, so that no link of the tree leads us anywhere."""
        archive = directory / "source.tar"
        git = ("git", "--git-dir", str(self._repository))
        packed = await run(*git, "archive", "--format=tar", f"--output={archive}", source.tree)
        if not packed.ok:
            raise Unevaluated(f"hive.git: {packed.last_words()}", Fault.HOST)
        overlay = directory / "changes.tar"
        await asyncio.to_thread(overlay.write_bytes, _tar(source.changes))
        for file in (archive, overlay):
            file.chmod(0o644)
        gone = [change.path for change in source.changes if change.new is None]
        folder = str(directory / "source")
        await self._must(directory, ("tar", "-C", folder, "-x", "-f", str(archive)))
        if gone:
            await self._must(directory, ("rm", "-f", "--", *(f"{folder}/{p}" for p in gone)))
            empty = ("-mindepth", "1", "-type", "d", "-empty", "-delete")
            await self._must(directory, ("find", folder, *empty))  # git knows no empty directory
        await self._must(directory, ("tar", "-C", folder, "-x", "-f", str(overlay)))
        await asyncio.to_thread(complete, directory / "source")

    async def _must(self, directory: Path, argv: Sequence[str]) -> None:
        done = await self._limited(directory, argv)
        if not done.ok:
            raise Unevaluated(f"{argv[0]}: {done.last_words()}", Fault.HOST)

    # -- limits ----------------------------------------------------------------------

    async def _limited(
        self, directory: Path, argv: Sequence[str], *, network: bool = False
    ) -> Done:
        """Run as the unprivileged user within the limits. Raises Unevaluated."""
        keep = ("PATH", "NIX_REMOTE", "NIX_CONFIG", "NIX_PATH", "LANG", "SSL_CERT_FILE")
        environment = {name: os.environ[name] for name in keep if name in os.environ}
        environment |= {"HOME": str(directory / "home"), "TMPDIR": str(directory)}
        try:
            return await run(
                *_jail(self._identity, network=network),
                *argv,
                seconds=2 * SECONDS,  # `systems` ends it before
                cwd=directory,
                environment=environment,
            )
        except RuntimeFailure as error:
            raise Unevaluated(error.message, Fault.HOST) from None


def _jail(identity: Identity | None, *, network: bool) -> tuple[str, ...]:
    """util-linux's own tools, each becoming the next."""
    words: tuple[str, ...] = ()
    if os.geteuid() == 0 and not network:
        words += ("unshare", "--net", "--")
    words += ("setpriv", "--no-new-privs", "--pdeathsig", "KILL")
    if identity is not None:
        words += ("--reuid", str(identity.uid), "--regid", str(identity.gid), "--clear-groups")
    limits = (f"--as={MEMORY}", f"--cpu={CPU_SECONDS}", f"--fsize={FILE}", "--core=0")
    return (*words, "--", "prlimit", *limits, "--")


def _tar(changes: Sequence[FileChange]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for change in changes:
            if change.new is None or change.new.data is None:
                continue
            entry = tarfile.TarInfo(change.path)
            entry.size, entry.mode = len(change.new.data), change.new.mode & 0o777
            tar.addfile(entry, io.BytesIO(change.new.data))
    return packed.getvalue()


def _parsed(container: str, text: str) -> System:
    try:
        found = json.loads(text)
        versions: defaultdict[str, set[str]] = defaultdict(set)
        for name, version in found["packages"]:
            versions[_short(name)].add(_short(version))
        packages = {name: _short(", ".join(sorted(some))) for name, some in versions.items()}
        if not _DRV.fullmatch(str(found["drv"])):  # it becomes an argument of nix-store
            raise ValueError("no derivation")
        units = {_short(name): str(digest) for name, digest in found["units"].items()}
        return System(found["drv"], packages, units)
    except (ValueError, KeyError, TypeError):
        message = f"{container}: what Nix printed of it is no system or longer than 1 MiB"
        raise Unevaluated(message, Fault.AUTHOR) from None


def _is_offline(done: Done) -> bool:
    return any(words in done.err for words in _OFFLINE)


def _short(text: object) -> str:
    return str(text)[:100]


def _explained(container: str, done: Done) -> Unevaluated:
    """Why, in a sentence that names the file where Nix does."""
    said = _AT.split(done.err.rpartition("error: ")[2])[0].strip()[:2000] or done.last_words()
    if any(words in done.err for words in _HOST):
        return Unevaluated(f"{container}: {said}", Fault.HOST)
    if done.status in (-9, -24, 137, 152) or any(words in done.err for words in _MEMORY):
        took = f"{CPU_SECONDS} s of computing or {MEMORY >> 30} GiB of memory"
        return Unevaluated(f"{container}: takes more than {took} to evaluate", Fault.AUTHOR)
    if "while updating the lock file" in done.err or "requires lock file changes" in done.err:
        return Unevaluated(
            "flake.lock does not fit flake.nix: run nix flake lock and commit what it writes",
            Fault.AUTHOR,
        )
    if _is_offline(done):
        return Unevaluated(f"{container}: {said}", Fault.MISSING)
    places = _PLACE.findall(done.err)
    where = next((f"{path}:{line}: " for path, line in places if path.startswith("agents/")), "")
    return Unevaluated(f"{where or container + ': '}{said}", Fault.AUTHOR)
