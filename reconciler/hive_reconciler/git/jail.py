"""Run as a script: become nobody, with limits and two directories, and turn into a program.

    jail.py UID GID DIRECTORY OBJECTS CPU_SECONDS MEMORY_BYTES FILE_BYTES /PATH/TO/PROGRAM [ARGUMENT]...

The program finds the git repository DIRECTORY as its working directory. As root it runs as
UID and GID in mount, network and ipc namespaces of its own, with DIRECTORY at /tmp/q and
OBJECTS, the alternate, read-only at /tmp/objects, whatever the modes of the directories above
them. Without root it keeps its user and both paths. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWNET = 0x00020000, 0x08000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_PRIVATE = 16384, 1 << 18
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
SIGKILL = 9

_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> None:
    uid, gid, directory, objects, cpu, memory, size, *program = arguments
    _call("prctl", PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    if os.geteuid() == 0:
        directory, objects = _namespaces(directory, objects)
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    os.chdir(directory)
    for limit, value in (
        (resource.RLIMIT_CPU, int(cpu)),
        (resource.RLIMIT_AS, int(memory)),
        (resource.RLIMIT_FSIZE, int(size)),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(limit, (value, value))
    _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_DIR": directory,
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects,
    }
    # From here on nothing may be imported: nobody cannot read every Python.
    os.execve(program[0], program, environment)  # noqa: S606


def _namespaces(directory: str, objects: str) -> tuple[str, str]:
    """Bind both directories where nobody can reach them, by descriptor: names may be hidden."""
    _call("unshare", CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET)
    _mount("none", "/", None, MS_REC | MS_PRIVATE, None)
    held = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in (directory, objects)]
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    _mount("jail", "/tmp", "tmpfs", flags, "mode=755,size=64k")
    for descriptor, path, read_only in zip(
        held, ("/tmp/q", "/tmp/objects"), (False, True), strict=True
    ):
        os.mkdir(path)
        _mount(f"/proc/self/fd/{descriptor}", path, None, MS_BIND, None)
        extra = MS_RDONLY if read_only else 0
        _mount("none", path, None, MS_REMOUNT | MS_BIND | flags | extra, None)
        os.close(descriptor)
    return "/tmp/q", "/tmp/objects"


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
        sys.exit(f"{name} is not possible here: {os.strerror(code)}")


if __name__ == "__main__":
    main(sys.argv[1:])
