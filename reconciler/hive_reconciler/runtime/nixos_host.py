"""The programs and places of a NixOS host: every command has a deadline and an explained failure."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .base import RuntimeFailure

_KEPT_OUTPUT = 1 << 20  # bytes


@dataclass(frozen=True)
class Places:
    """Where NixOS's own container unit looks."""

    confs: Path = Path("/etc/nixos-containers")
    roots: Path = Path("/var/lib/nixos-containers")
    nix: Path = Path("/nix/var/nix")
    exports: Path = Path("/run/systemd/nspawn/unix-export")
    controllers: Path = Path("/sys/fs/cgroup/cgroup.controllers")

    @classmethod
    def of_host(cls) -> Places:
        """HIVE_CONTAINERS is NixOS's name for both directories: it depends on the host's age."""
        name = os.environ.get("HIVE_CONTAINERS", "nixos-containers")
        return cls(confs=Path("/etc") / name, roots=Path("/var/lib") / name)

    @property
    def gcroots(self) -> Path:
        """Ours: what is under per-container/ belongs to the container."""
        return self.nix / "gcroots" / "hyperhive"

    def per_container(self, machine: str) -> tuple[Path, Path]:
        """What NixOS's unit makes for the container, and binds into it."""
        return (
            self.nix / "profiles/per-container" / machine,
            self.nix / "gcroots/per-container" / machine,
        )


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str

    @property
    def ok(self) -> bool:
        return self.status == 0

    def last_words(self, lines: int = 8) -> str:
        """The end of what it said, for a person."""
        return "\n".join((self.err.strip() or self.out.strip()).splitlines()[-lines:])


async def run(
    *argv: str,
    seconds: float = 30.0,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    user: int | None = None,
    group: int | None = None,
) -> Done:
    """Run to the end. Raises RuntimeFailure when it is missing or takes longer than `seconds`."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=cwd,
            env=environment,
            user=user,
            group=group,
            extra_groups=None if user is None else [],
            start_new_session=True,
        )
    except FileNotFoundError:
        raise RuntimeFailure("ToolMissing", f"{argv[0]} is not on PATH") from None
    try:
        async with asyncio.timeout(seconds):
            out, err, _ = await asyncio.gather(
                _end_of(process.stdout), _end_of(process.stderr), process.wait()
            )
    except TimeoutError:
        raise RuntimeFailure("TookTooLong", f"{argv[0]} did not end in {seconds:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            await process.wait()
    return Done(process.returncode or 0, _text(out), _text(err))


async def must(*argv: str, reason: str, seconds: float = 30.0) -> Done:
    """Run, and raise RuntimeFailure(reason) when it fails."""
    done = await run(*argv, seconds=seconds)
    if not done.ok:
        raise RuntimeFailure(reason, f"{' '.join(argv[:3])} failed: {done.last_words()}")
    return done


async def _end_of(stream: asyncio.StreamReader | None) -> bytes:
    """The last of what it prints: no program fills our memory."""
    kept: deque[bytes] = deque()
    size = 0
    while stream is not None and (data := await stream.read(1 << 16)):
        kept.append(data)
        size += len(data)
        while size - len(kept[0]) >= _KEPT_OUTPUT:
            size -= len(kept.popleft())
    return b"".join(kept)[-_KEPT_OUTPUT:]


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
