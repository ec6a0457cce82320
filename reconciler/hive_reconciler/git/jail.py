"""The resident process in which foreign bytes are read, and git runs on foreign repositories.

Every request is one packet of JSON on standard input, a socket, and one descriptor of a stream
socket. A child forked for it alone becomes nobody, with limits, serves that stream and ends.

- `{"job": "take", …}`: a pack comes in until the end of input, and is taken apart by `pack`. `.`
  and its entries go out, as `pack.dump` writes them; or `!` and the reason for a refusal. The
  child can open nothing: no file, no socket, no process.
- `{"job": "pack", "git", "directory", "objects", …}`: revisions come in, the pack of
  `git pack-objects` goes out. As root it finds `directory` at /tmp/q and `objects`, read-only, at
  /tmp/objects, whatever the modes of the directories above them; without root by their own names.

Standard library only, and nothing is imported after the start: nobody cannot read every Python.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import socket
import sys
from typing import Any

from .pack import BadPack, dump, unpack

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWNET = 0x00020000, 0x08000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_SLAVE = 16384, 1 << 19
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
NO_SUID = MS_NOSUID | MS_NODEV | MS_NOEXEC
TAKEN, REFUSED = b".", b"!"
# Deltas on what the asker has: of a large tree come the lines that differ.
PACKING = ("-q", "--revs", "--thin", "--delta-base-offset", "--stdout")

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    control = socket.socket(fileno=0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended children leave no zombies
    problem = None
    try:
        if os.geteuid() == 0:
            _call("unshare", CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET)
            _mount("none", "/", None, MS_REC | MS_SLAVE, None)  # the host's unmounts come here, too
    except OSError as error:
        problem = error
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 1)
        if not data:
            return
        if os.fork() == 0:
            control.close()
            with socket.socket(fileno=descriptors[0]) as stream:
                _serve(json.loads(data), stream, problem)
        for descriptor in descriptors:
            os.close(descriptor)


def _serve(request: dict[str, Any], stream: socket.socket, problem: OSError | None) -> None:
    """In the child. Never returns. Nothing runs unconfined: with a `problem` nothing at all."""
    try:
        if problem is not None:
            raise problem
        if request["job"] == "pack":
            _pack(request, stream)
        else:
            _take(request, stream)
    except BrokenPipeError:
        pass  # nobody listens any more
    except OSError as error:
        print(f"jail: {error}", file=sys.stderr, flush=True)
        if request["job"] == "take":
            _received(stream)  # an answer before the end of input could get lost
            stream.sendall(REFUSED + str(error).encode(errors="replace"))
    finally:
        os._exit(0)


# -- jobs ----------------------------------------------------------------------------


def _take(request: dict[str, Any], stream: socket.socket) -> None:
    _become_nobody(request, {resource.RLIMIT_NOFILE: 0, resource.RLIMIT_NPROC: 0})
    try:
        found = unpack(_received(stream), request["count"], request["content"])
        answer = [TAKEN, *dump(found)]
    except BadPack as error:
        answer = [REFUSED, str(error).encode()]
    except MemoryError:
        answer = [REFUSED, b"it does not fit the limit of memory"]
    for part in answer:
        stream.sendall(part)


def _received(stream: socket.socket) -> bytes:
    parts = []
    while part := stream.recv(1 << 18):
        parts.append(part)
    return b"".join(parts)


def _pack(request: dict[str, Any], stream: socket.socket) -> None:
    directory, objects = request["directory"], request["objects"]
    if os.geteuid() == 0:
        directory, objects = _bound(directory, objects)
    os.dup2(os.open(os.devnull, os.O_RDWR), 2)  # before the others: it may be one of them
    os.dup2(stream.fileno(), 0)
    os.dup2(stream.fileno(), 1)
    _become_nobody(request, {resource.RLIMIT_NOFILE: 64})
    os.chdir(directory)
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_DIR": directory,
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects,
    }
    command = [request["git"], "pack-objects", *PACKING]
    os.execve(command[0], command, environment)  # noqa: S606


# -- confinement -------------------------------------------------------------------


def _become_nobody(request: dict[str, Any], limits: dict[int, int]) -> None:
    """With limits, some of which all jobs have; what is open stays open."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(request["gid"])
        os.setuid(request["uid"])
    _call("prctl", PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)  # setuid clears it
    limits = limits | {
        resource.RLIMIT_CPU: request["cpu"],
        resource.RLIMIT_AS: request["memory"],
        resource.RLIMIT_FSIZE: request["file"],
        resource.RLIMIT_CORE: 0,
    }
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))
    _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _bound(*directories: str) -> list[str]:
    """Both directories where nobody can reach them, by descriptor: names may be hidden."""
    _call("unshare", CLONE_NEWNS)
    held = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in directories]
    _mount("jail", "/tmp", "tmpfs", NO_SUID, "mode=755,size=64k")
    places = ["/tmp/q", "/tmp/objects"]
    for descriptor, path in zip(held, places, strict=True):
        os.mkdir(path)
        _mount(f"/proc/self/fd/{descriptor}", path, None, MS_BIND, None)
        _mount("none", path, None, MS_REMOUNT | MS_BIND | NO_SUID | MS_RDONLY, None)
        os.close(descriptor)
    return places


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None) -> None:
    _call(
        "mount",
        source.encode(),
        target.encode(),
        None if kind is None else kind.encode(),
        ctypes.c_ulong(flags),
        None if data is None else data.encode(),
    )


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name} is not possible here: {os.strerror(code)}")
