"""Run as a script with a socket as standard input: the resident process that confines git.

Every request is one packet of JSON, `{"job": "take"|"pack", "git", "uid", "gid", "directory",
"objects", "cpu", "memory", "file", "count"}`, and one descriptor of a stream socket. A
child forked for it alone becomes nobody, with limits, serves that stream and ends; it ends, too,
when the stream's other end closes. As root it has mount, network and ipc namespaces, and finds
`directory` (null: an empty tmpfs) at /tmp/q and `objects`, read-only, at /tmp/objects, whatever
the modes of the directories above them. Without root it keeps its user and both paths.

- `take`: a pack comes in until the end of input. A line goes out: `.` and the number of objects,
  which then follow as `git cat-file --batch` writes them; or `!` and the reason for a refusal.
- `pack`: revisions come in, the pack of `git pack-objects` goes out.

Standard library only, and nothing is imported after the start: nobody cannot read every Python.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from subprocess import DEVNULL, PIPE
from typing import Any

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWNET = 0x00020000, 0x08000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_SLAVE = 16384, 1 << 19
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
NO_SUID = MS_NOSUID | MS_NODEV | MS_NOEXEC
TAKEN, REFUSED = b".", b"!"

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
            _serve(json.loads(data), descriptors[0], problem)
        for descriptor in descriptors:
            os.close(descriptor)


def _serve(request: dict[str, Any], stream: int, problem: OSError | None) -> None:
    """In the child. Never returns. Nothing runs unconfined: with a `problem` nothing at all."""
    try:
        if problem is not None:
            raise problem
        environment = _confine(request)
        if request["job"] == "pack":
            _pack(request, stream, environment)
        else:
            _take(request, stream, environment)
    except BrokenPipeError:
        pass  # nobody listens any more
    except OSError as error:
        print(f"jail: {error}", file=sys.stderr, flush=True)
        if request["job"] == "take":
            _refuse(stream, str(error))
    finally:
        os._exit(0)


def _refuse(stream: int, reason: str) -> None:
    _say(stream, REFUSED, reason)
    while os.read(stream, 1 << 16):  # an answer before the end of input could get lost
        pass


def _say(stream: int, kind: bytes, text: str) -> None:
    os.write(stream, kind + b" ".join(text.encode(errors="replace").splitlines()) + b"\n")


# -- confinement -------------------------------------------------------------------


def _confine(request: dict[str, Any]) -> dict[str, str]:
    """Become nobody, with limits, in the directory. The environment for git."""
    _call("prctl", PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    directory, objects = request["directory"], request["objects"]
    if os.geteuid() == 0:
        directory, objects = _namespace(request, directory, objects)
        os.setgroups([])
        os.setgid(request["gid"])
        os.setuid(request["uid"])
        _call("prctl", PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)  # setuid cleared it
    os.chdir(directory)
    for limit, value in (
        (resource.RLIMIT_CPU, request["cpu"]),
        (resource.RLIMIT_AS, request["memory"]),
        (resource.RLIMIT_FSIZE, request["file"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(limit, (value, value))
    _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_DIR": directory,
        **({"GIT_ALTERNATE_OBJECT_DIRECTORIES": objects} if objects else {}),
    }


def _namespace(
    request: dict[str, Any], directory: str | None, objects: str | None
) -> tuple[str, str | None]:
    """Bind both directories where nobody can reach them, by descriptor: names may be hidden."""
    _call("unshare", CLONE_NEWNS)
    _mount("none", "/", None, MS_REC | MS_SLAVE, None)  # a child that waits pins nothing either
    held = [
        None if path is None else os.open(path, os.O_PATH | os.O_DIRECTORY)
        for path in (directory, objects)
    ]
    _mount("jail", "/tmp", "tmpfs", NO_SUID, "mode=755,size=64k")
    for descriptor, path, flags in zip(
        held, ("/tmp/q", "/tmp/objects"), (NO_SUID, NO_SUID | MS_RDONLY), strict=True
    ):
        os.mkdir(path)
        if descriptor is not None:
            _mount(f"/proc/self/fd/{descriptor}", path, None, MS_BIND, None)
            _mount("none", path, None, MS_REMOUNT | MS_BIND | flags, None)
            os.close(descriptor)
    if directory is None:
        options = f"mode=700,uid={request['uid']},gid={request['gid']},size={request['file']}"
        _mount("jail", "/tmp/q", "tmpfs", NO_SUID, options)
    return "/tmp/q", None if objects is None else "/tmp/objects"


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


# -- jobs ----------------------------------------------------------------------------


def _pack(request: dict[str, Any], stream: int, environment: dict[str, str]) -> None:
    silence = os.open(os.devnull, os.O_RDWR)
    for source, target in ((stream, 0), (stream, 1), (silence, 2)):
        os.dup2(source, target)
    command = [request["git"], "pack-objects", "-q", "--revs", "--stdout"]
    os.execve(command[0], command, environment)  # noqa: S606


def _take(request: dict[str, Any], stream: int, environment: dict[str, str]) -> None:
    for folder in ("objects", "objects/pack", "refs"):
        os.mkdir(folder)
    with open("HEAD", "w") as head:
        head.write("ref: refs/heads/none\n")
    git = request["git"]
    with subprocess.Popen(  # it starts while the pack still comes
        [git, "cat-file", "--batch", "--buffer"],
        stdin=PIPE,
        stdout=stream,
        stderr=PIPE,
        env=environment,
    ) as reader:
        try:
            wrong = _index(git, stream, environment)
            names = [] if wrong else list(_names())
            if len(names) > request["count"]:
                wrong = f"it brings too much: {request['count']} objects are the most"
            if wrong:
                _say(stream, REFUSED, wrong)
                return
            _say(stream, TAKEN, str(len(names)))
            assert reader.stdin is not None
            assert reader.stderr is not None
            reader.stdin.write(b"".join(b"%s\n" % name.hex().encode() for name in names))
            reader.stdin.close()
            _listen(reader.stderr.fileno(), stream)  # until it ends, or nobody listens
        finally:
            reader.kill()


def _index(git: str, stream: int, environment: dict[str, str]) -> str | None:
    """Index the pack that comes; what is wrong with it. Raises OSError when nobody listens."""
    options = ("core.bigFileThreshold=1m", "core.packedGitWindowSize=16m", "pack.threads=1")
    settings = [word for option in (*options, "core.fsync=none") for word in ("-c", option)]
    command = [git, *settings, "index-pack", "--stdin", "--fsck-objects"]
    with subprocess.Popen(
        command, stdin=stream, stdout=DEVNULL, stderr=PIPE, env=environment
    ) as child:
        assert child.stderr is not None
        said = _listen(child.stderr.fileno(), stream)
        if said is None:
            child.kill()
            raise BrokenPipeError("the other end is gone")
    if child.returncode == 0:
        return None
    while os.read(stream, 1 << 16):  # an answer before the end of input could get lost
        pass
    if child.returncode < 0:
        return "it does not fit the limits of time and memory"
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    return "; ".join(lines[-2:]) or f"git index-pack ended with {child.returncode}"


def _listen(errors: int, stream: int) -> bytes | None:
    """The last words of a child, once it has ended; None when the stream's other end is gone."""
    poll = select.poll()
    poll.register(errors, select.POLLIN)
    poll.register(stream, 0)  # tells a hang-up, not the end of input
    said = b""
    while True:
        if any(descriptor == stream for descriptor, _ in poll.poll()):
            return None
        data = os.read(errors, 4096)
        if not data:
            return said
        said = (said + data)[-4096:]


def _names() -> Iterator[bytes]:
    """The OIDs of the pack, from its index: magic, version, 256 counts, then the OIDs."""
    for name in os.listdir("objects/pack"):
        if name.endswith(".idx"):
            with open(f"objects/pack/{name}", "rb") as file:
                file.seek(8 + 255 * 4)
                (number,) = struct.unpack(">I", file.read(4))
                for _ in range(number):
                    yield file.read(20)


if __name__ == "__main__":
    main()
