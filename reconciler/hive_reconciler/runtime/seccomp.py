"""A small system call filter for containers, beside what their supervisor brings."""

from __future__ import annotations

import errno
import platform
import struct

# What user namespaces do not cut off, or what has mostly been a way out of them.
DENIED = {
    "x86_64": {
        "add_key": 248,
        "request_key": 249,
        "keyctl": 250,
        "kexec_load": 246,
        "perf_event_open": 298,
        "open_by_handle_at": 304,
        "kexec_file_load": 320,
        "bpf": 321,
        "userfaultfd": 323,
        "io_uring_setup": 425,
        "io_uring_enter": 426,
        "io_uring_register": 427,
    },
    "aarch64": {
        "kexec_load": 104,
        "add_key": 217,
        "request_key": 218,
        "keyctl": 219,
        "perf_event_open": 241,
        "open_by_handle_at": 265,
        "bpf": 280,
        "userfaultfd": 282,
        "kexec_file_load": 294,
        "io_uring_setup": 425,
        "io_uring_enter": 426,
        "io_uring_register": 427,
    },
}
SOCKET = {"x86_64": 41, "aarch64": 198}
VSOCK = 40  # a family of sockets between a virtual machine and its host: in no network namespace
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_X32 = 0x40000000  # a second set of numbers for the same calls
_NUMBER, _ARCHITECTURE, _FIRST = 0, 4, 16  # offsets in struct seccomp_data


def program(machine: str | None = None) -> bytes:
    """The filter as the kernel takes it; empty on machines whose numbers we do not have.

    Denied calls and other architectures' calls fail with ENOSYS, and sockets of VSOCK with
    EAFNOSUPPORT, as on a kernel without them.
    """
    machine = platform.machine() if machine is None else machine
    if machine not in DENIED:
        return b""
    numbers = sorted(DENIED[machine].values())
    deny = len(numbers) + 4  # instructions between the first test and the denial
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 0, deny + 2, _AUDIT[machine]),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, deny, 0, _X32),
    ]
    for index, number in enumerate(numbers):
        steps.append((_EQUAL, deny - 1 - index, 0, number))
    steps += [
        (_EQUAL, 0, 2, SOCKET[machine]),
        (_LOAD, 0, 0, _FIRST),
        (_EQUAL, 2, 0, VSOCK),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERROR | errno.ENOSYS),
        (_RETURN, 0, 0, _ERROR | errno.EAFNOSUPPORT),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in steps)
