"""Starts a shim and hears from it whether PID 1 runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .base import RuntimeFailure

SHIM = Path(__file__).with_name("shim.py")
SECONDS = 90.0  # more than the shim's own deadline


@dataclass(frozen=True)
class Launch:
    """What a shim is told; its fields are the keys of shim.py's task."""

    kind: str  # "nspawn" or "bwrap": how PID 1 is told
    argv: tuple[str, ...]
    environment: dict[str, str]  # of the supervisor
    folder: str
    log: str
    log_bytes: int
    marker: str  # "NAME=value" in the environment of PID 1
    doors: tuple[str, ...]  # cgroup.procs files for the container
    shim_doors: tuple[str, ...]  # and for the shim itself
    oom_file: str | None
    rlimits: dict[str, int]
    seccomp: str  # hexadecimal, "" for none


async def launch(task: Launch, lock: int, marker: tuple[str, str]) -> None:
    """Return when PID 1 runs. The shim inherits the lock. Raises RuntimeFailure."""
    answer, answer_end = os.pipe()
    try:
        await asyncio.to_thread(_spawn, task, lock, answer_end, marker)
    except BaseException:
        os.close(answer)
        raise
    finally:
        os.close(answer_end)
    line = await _read_line(answer)
    try:
        said = json.loads(line)
    except ValueError:
        said = {"error": "its supervisor ended without a word"}
    if "error" in said:
        raise RuntimeFailure("StartFailed", str(said["error"]))


def _spawn(task: Launch, lock: int, answer: int, marker: tuple[str, str]) -> None:
    name, value = marker
    subprocess.run(  # it forks, and its first process ends at once
        [sys.executable, "-I", "-S", str(SHIM)],
        input=json.dumps(task.__dict__).encode(),
        stdout=answer,
        stderr=subprocess.DEVNULL,
        pass_fds=(lock,),
        cwd="/",
        env={"PATH": "/usr/bin:/bin", name: value},
        check=False,
        timeout=SECONDS,
    )


async def _read_line(fd: int) -> bytes:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    pipe = os.fdopen(fd, "rb", 0)
    transport, _ = await loop.connect_read_pipe(lambda: protocol, pipe)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SECONDS):
                return await reader.readline()
    finally:
        transport.close()
    return b""
