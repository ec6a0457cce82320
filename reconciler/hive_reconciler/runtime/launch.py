"""Starts shims and hears from them whether PID 1 runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Callable
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


class Shims:
    """Starts shims; once `keep_ready` was called, one is always up before it is needed."""

    def __init__(self) -> None:
        self._spare: tuple[int, socket.socket] | None = None
        self._lock = threading.Lock()

    def keep_ready(self) -> None:
        """Have a spare one. Blocks for a moment: call it in a thread."""
        with self._lock:
            if self._spare is None:
                self._spare = _spawn()

    def close(self) -> None:
        """End the spare one."""
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is not None:
            pid, door = spare
            door.close()
            os.waitpid(pid, 0)

    async def launch(self, task: Launch, lock: int) -> None:
        """Return when PID 1 runs. The shim takes over the lock. Raises RuntimeFailure."""
        answer, answer_end = os.pipe()
        try:
            await _to_its_end(self._hand_over, task, lock, answer_end)
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

    def _hand_over(self, task: Launch, lock: int, answer: int) -> None:
        with self._lock:
            spare, self._spare = self._spare, None
        text = json.dumps(task.__dict__).encode()
        taken = spare is not None and _tell(*spare, text, (lock, answer))
        if not taken and not _tell(*_spawn(), text, (lock, answer)):
            raise RuntimeFailure("StartFailed", "the shim ended before it had begun")


async def _to_its_end(call: Callable[..., None], *arguments: object) -> None:
    """In a thread; a cancelled wait still waits, because descriptors are closed after it."""
    running = asyncio.ensure_future(asyncio.to_thread(call, *arguments))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def _spawn() -> tuple[int, socket.socket]:
    """A shim that waits for its task: its pid and the door to it."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with its:
        actions = [
            (os.POSIX_SPAWN_DUP2, its.fileno(), 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ]
        argv = [sys.executable, "-I", "-S", str(SHIM)]
        environment = {"PATH": "/usr/bin:/bin"}
        pid = os.posix_spawn(sys.executable, argv, environment, file_actions=actions)
    return pid, ours


def _tell(pid: int, door: socket.socket, text: bytes, descriptors: tuple[int, ...]) -> bool:
    """Give a waiting shim its task. It forks, and its first process ends: True if it took it."""
    door.settimeout(SECONDS)
    with door:
        try:
            socket.send_fds(door, [b"\n"], descriptors)
            door.sendall(text)
            door.shutdown(socket.SHUT_WR)
        except OSError:
            os.waitpid(pid, 0)
            return False
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


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
