"""Runs inside a container and tries what must not work. Prints nothing; writes /state/result.json.

Standard library only. argv: one JSON object with what the test outside set up.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
ARM = platform.machine() == "aarch64"
NUMBERS = {  # name: (x86_64, aarch64)
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "unshare": (272, 97),
    "init_module": (175, 105),
    "io_uring_setup": (425, 425),
}
RDONLY, BIND, REMOUNT, REC = 1, 4096, 32, 16384
NEWNS, NEWCGROUP, NEWUSER = 0x20000, 0x02000000, 0x10000000


def call(name: str, *args: Any) -> int:
    result = int(LIBC.syscall(NUMBERS[name][ARM], *args))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    encoded = [None if text is None else text.encode() for text in (source, target, kind)]
    if LIBC.mount(*encoded, ctypes.c_ulong(flags), data.encode() or None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def umount(target: str) -> None:
    if LIBC.umount2(target.encode(), 2) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def write(path: str, text: str = "1") -> None:
    with open(path, "w") as file:
        file.write(text)


def mknod(kind: int, major: int, minor: int) -> None:
    path = f"/var/tmp/device-{major}-{minor}"
    os.mknod(path, kind | 0o600, os.makedev(major, minor))
    os.close(os.open(path, os.O_RDONLY))


def connect(family: int, address: Any) -> None:
    with socket.socket(family) as sock:
        sock.settimeout(3)
        sock.connect(address)


def by_handle() -> None:
    buffer = ctypes.create_string_buffer(8 + 128)
    ctypes.memmove(buffer, (128).to_bytes(4, "little"), 4)
    mount_id = ctypes.c_int()
    call("name_to_handle_at", -100, b"/state", buffer, ctypes.byref(mount_id), 0)
    fd = os.open("/state", os.O_RDONLY)
    call("open_by_handle_at", fd, buffer, os.O_RDONLY)


def in_new_namespaces(action: Callable[[], None]) -> None:
    """As root of one's own user namespace: what agents may do too."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            call("unshare", NEWUSER | NEWNS | NEWCGROUP)
            action()
            os.write(writing, b"done")
        except OSError as error:
            os.write(writing, str(error).encode())
        os._exit(0)
    os.close(writing)
    said = os.read(reading, 1000).decode()
    os.waitpid(child, 0)
    if said != "done":
        raise OSError(said)


def remount_and_write() -> None:
    mount(None, "/usr", None, REMOUNT | BIND)
    write("/usr/escaped")


def v1_limits() -> None:
    mount("none", "/mnt", "cgroup", 0, "memory")
    write("/mnt/memory.limit_in_bytes", "-1")


def v2_limits() -> None:
    mount("none", "/mnt", "cgroup2", 0)
    write("/mnt/cgroup.procs", "0")
    write("/mnt/memory.max", "max")


def attach(pid: int) -> None:
    if LIBC.ptrace(16, pid, None, None) != 0:  # PTRACE_ATTACH
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def key_search(name: str) -> None:
    call("keyctl", 10, -3, b"user", name.encode(), 0)  # KEYCTL_SEARCH in the session keyring


def key_request(name: str) -> None:
    call("request_key", b"user", name.encode(), None, 0)


def notify_forged() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(os.environ["NOTIFY_SOCKET"])
        sock.send(b"X_NSPAWN_LEADER_PID=1\nSTOPPING=1\nMAINPID=1")
    raise OSError("sent, and the test looks outside what came of it")


def attempts(given: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    pid = given["host_pid"]
    tried: dict[str, Callable[[], Any]] = {
        "write to /usr": lambda: write("/usr/escaped"),
        "write to the sockets' directory": lambda: write("/run/hive/escaped"),
        "remount /usr": remount_and_write,
        "remount /run/hive": lambda: mount(None, "/run/hive", None, REMOUNT | BIND),
        "remount in a new namespace": lambda: in_new_namespaces(remount_and_write),
        "mount": lambda: mount("none", "/mnt", "tmpfs", 0),
        "bind": lambda: mount("/usr", "/mnt", None, BIND | REC),
        "umount /usr": lambda: umount("/usr"),
        "umount /proc/sys": lambda: umount("/proc/sys"),
        "block device": lambda: mknod(stat.S_IFBLK, *given["disk"]),
        "character device": lambda: mknod(stat.S_IFCHR, 1, 1),
        "kernel memory": lambda: os.open("/dev/mem", os.O_RDONLY),
        "kernel log": lambda: os.open("/dev/kmsg", os.O_RDWR),
        "signal a host process": lambda: os.kill(pid, 0),
        "trace a host process": lambda: os.open(f"/proc/{pid}/mem", os.O_RDONLY),
        "attach to a host process": lambda: attach(pid),
        "attach to the parent of all": lambda: attach(os.getppid()),
        "v1 limits": v1_limits,
        "v1 limits in a new namespace": lambda: in_new_namespaces(v1_limits),
        "v2 limits in a new namespace": lambda: in_new_namespaces(v2_limits),
        "core pattern": lambda: write("/proc/sys/kernel/core_pattern", "|/state/x"),
        "modprobe path": lambda: write("/proc/sys/kernel/modprobe", "/state/x"),
        "sysrq": lambda: write("/proc/sysrq-trigger", "h"),
        "host name of the host": lambda: write("/proc/sys/kernel/domainname", "escaped"),
        "host loopback": lambda: connect(socket.AF_INET, ("127.0.0.1", given["port"])),
        "host loopback 6": lambda: connect(socket.AF_INET6, ("::1", given["port"])),
        "host address": lambda: connect(socket.AF_INET, (given["address"], given["port"])),
        "host abstract socket": lambda: connect(socket.AF_UNIX, "\0" + given["abstract"]),
        "raw socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
        "socket of the virtual machine": lambda: socket.socket(socket.AF_VSOCK),
        "socket by a ring": lambda: call("io_uring_setup", 1, bytes(120)),
        "key by search": lambda: key_search(given["key"]),
        "key by request": lambda: key_request(given["key"]),
        "open by handle": by_handle,
        "bpf": lambda: call("bpf", 5, None, 0),
        "kernel module": lambda: call("init_module", b"", 0, b""),
        "set the clock": set_clock,
        "forged notice": notify_forged,
    }
    for path in given["hidden"]:
        tried[f"see {path}"] = lambda path=path: os.lstat(path)  # type: ignore[misc]
    for path in ("memory.max", "pids.max", "cpu.max", "cgroup.kill", "cgroup.freeze"):
        tried[f"own {path}"] = lambda path=path: write(f"/sys/fs/cgroup/{path}")  # type: ignore[misc]
    tried["parent group"] = lambda: write("/sys/fs/cgroup/../cgroup.procs", "1")
    return tried


def set_clock() -> None:
    time.clock_settime(time.CLOCK_REALTIME, time.time())


def facts() -> dict[str, Any]:
    try:
        with open("/proc/keys") as file:
            keys = file.read()
    except OSError:
        keys = ""
    return {
        "interfaces": [name for _, name in socket.if_nameindex()],
        "processes": sorted(int(pid) for pid in os.listdir("/proc") if pid.isdigit()),
        "descriptors": sorted(os.listdir("/proc/1/fd")),
        "root": sorted(os.listdir("/")),
        "home": sorted(os.listdir("/root")),
        "homes": sorted(os.listdir("/home")),
        "run_hive": sorted(os.listdir("/run/hive")),
        "keys": keys,
    }


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    result: dict[str, Any] = {"facts": facts(), "tried": {}}  # attempts leave descriptors open
    for name, attempt in attempts(json.loads(sys.argv[1])).items():
        try:
            attempt()
            result["tried"][name] = "DONE"
        except Exception as error:  # noqa: BLE001
            result["tried"][name] = f"{type(error).__name__}: {error}"
    write("/state/result.new", json.dumps(result))
    os.rename("/state/result.new", "/state/result.json")
    signal.pause()


main()
