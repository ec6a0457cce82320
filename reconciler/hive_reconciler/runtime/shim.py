"""The process between a runtime and one container; it outlives whoever started it.

It reads the console (so a container can never fill the disk nor block on a dead reader), knows
PID 1, waits for the end, and writes down how it ended. Run by path with `python -I -S`: the
standard library only, small, and independent of upgrades of the package around it.

It is started ahead and waits. In, over the socket that is its stdin: the descriptors of the
container's lock and of the answer, then one JSON object. The answer is one JSON line:
`{"leader": pid}` once PID 1 runs, or `{"error": text}`. Who goes away without a word ends it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import platform
import re
import resource
import selectors
import signal
import socket
import time
from typing import Any

START_SECONDS = 60.0
CHUNK = 65536
TAIL = 4000  # bytes of console told to whoever started us, when the start fails
PR_SET_PDEATHSIG, PR_SET_SECCOMP = 1, 22
MODE_FILTER = 2
KEYCTL = {"x86_64": 250, "aarch64": 219}
JOIN_SESSION_KEYRING = 1


def start_of(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except OSError:
        return None
    return int(stat[stat.rindex(b")") + 2 :].split()[19])


class Rules(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("count", ctypes.c_ushort), ("steps", ctypes.c_char_p)]


def confine(rules: bytes) -> None:
    """Take the system call filter on, for whatever this process becomes. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    taken = Rules(len(rules) // 8, rules)
    if libc.prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(taken), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel takes no system call filter")


class Log:
    """A file of at most `limit` bytes and its predecessor."""

    def __init__(self, path: str, limit: int) -> None:
        self.path, self.limit = path, limit
        self.tail = b""
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self.fd = os.open(self.path, flags, 0o600)
        self.size = os.fstat(self.fd).st_size

    def write(self, data: bytes) -> None:
        self.tail = (self.tail + data)[-TAIL:]
        with contextlib.suppress(OSError):  # a full disk costs the log, not the container
            if self.size + len(data) > self.limit:
                self._turn()
            self.size += os.write(self.fd, data)

    def _turn(self) -> None:
        """Begin a new file. Where that fails, the next write tries again."""
        old = self.fd
        with contextlib.suppress(FileNotFoundError):
            os.replace(self.path, self.path + ".1")
        self._open()
        os.close(old)


class Shim:
    def __init__(self, task: dict[str, Any]) -> None:
        self.task = task
        self.folder: str = task["folder"]
        self.log = Log(task["log"], task["log_bytes"])
        os.dup2(self.log.fd, 2)  # our own tracebacks
        self.supervisor = 0
        self.leader: int | None = None
        self.status: int | None = None  # of the supervisor, once it ended
        self.reported = False
        self.leader_gone = False
        self.console_open = True
        self.selector = selectors.DefaultSelector()

    # -- the way up ------------------------------------------------------------

    def run(self) -> None:
        self.note()
        console, notes, go = self.spawn()
        self.watch(console, self.on_console)
        self.watch(notes, self.on_notes)
        self.watch(os.pidfd_open(self.supervisor), self.on_supervisor)
        deadline = time.monotonic() + START_SECONDS
        go_given = go < 0
        while not self.finished():
            starting = not self.reported
            pause = 0.005 if self.leader else 1.0  # nothing tells of the marker or the deadline
            for key, _ in self.selector.select(pause if starting else None):
                key.data(key.fd)
            if self.leader and not go_given:
                self.bound_leader()
                os.write(go, b"1")
                os.close(go)
                go_given = True
            if starting and self.leader and self.marked():
                self.note()
                self.report({"leader": self.leader})
            if not self.reported and time.monotonic() > deadline:
                self.fail(f"PID 1 did not start within {START_SECONDS:.0f} s")
        self.end(console)

    def spawn(self) -> tuple[int, int, int]:
        """Start the supervisor: descriptors of console, notes, and the go-ahead (-1: none)."""
        console, console_end = os.pipe()
        if self.task["kind"] == "nspawn":
            path = os.path.join(self.folder, "notify")
            notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            notify.bind(path)
            notes, keep, go = notify.detach(), [], -1
            self.task["environment"]["NOTIFY_SOCKET"] = path
        else:
            notes, notes_end = os.pipe()
            wait, go = os.pipe()
            keep = [notes_end, wait]
            if filtering := self.task["seccomp"]:
                rules, rules_end = os.pipe()
                os.write(rules_end, bytes.fromhex(filtering))
                os.close(rules_end)
                keep.append(rules)
        os.set_blocking(notes, False)
        os.set_blocking(console, False)
        self.supervisor = os.fork()
        if self.supervisor == 0:
            self.become(console_end, keep)
        for fd in (console_end, *keep):
            os.close(fd)
        self.note()
        return console, notes, go

    def become(self, console: int, keep: list[int]) -> None:
        """In the child: enter the groups, arrange descriptors 3.., exec. Never returns."""
        try:
            for door in self.task["doors"]:
                with open(door, "w") as file:
                    file.write("0")
            null = os.open("/dev/null", os.O_RDONLY)
            wanted = (null, console, console, *keep)
            for number, fd in enumerate([fcntl.fcntl(fd, fcntl.F_DUPFD, 16) for fd in wanted]):
                os.dup2(fd, number, inheritable=True)
            os.closerange(3 + len(keep), 65536)
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
            if self.task["kind"] == "nspawn" and self.task["seccomp"]:  # bwrap has it from `keep`
                confine(bytes.fromhex(self.task["seccomp"]))
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            os.execve(self.task["argv"][0], self.task["argv"], self.task["environment"])  # noqa: S606
        except BaseException as error:  # noqa: BLE001 - a forked child must end here, whatever it is
            os.write(2, f"cannot run {self.task['argv'][0]}: {error}\n".encode())
        os._exit(127)

    def bound_leader(self) -> None:
        """Limits that hold in the container's user namespace only, not for this user's others."""
        assert self.leader is not None
        for name, value in self.task["rlimits"].items():
            resource.prlimit(self.leader, getattr(resource, name), (value, value))

    def marked(self) -> bool:
        """Whether PID 1 is already what was asked for, not the supervisor's last step before."""
        try:
            with open(f"/proc/{self.leader}/environ", "rb") as file:
                return self.task["marker"].encode() in file.read().split(b"\0")
        except OSError:
            return False

    # -- what happens ----------------------------------------------------------

    def watch(self, fd: int, what: Any) -> None:
        self.selector.register(fd, selectors.EVENT_READ, what)

    def on_console(self, fd: int) -> None:
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        if not data:
            self.console_open = False
            self.selector.unregister(fd)
            return
        self.log.write(data)
        if len(data) == CHUNK:
            time.sleep(0.01)  # a flood is slowed to 6 MB/s: it is the container that waits

    def on_notes(self, fd: int) -> None:
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        if not data:
            self.selector.unregister(fd)
            return
        found = re.search(rb'(?:X_NSPAWN_LEADER_PID=|"child-pid": )([0-9]+)', data)
        if found and self.leader is None:
            self.leader = int(found[1])
            try:
                self.watch(os.pidfd_open(self.leader), self.on_leader)
            except ProcessLookupError:
                self.leader_gone = True
            self.note()

    def on_supervisor(self, fd: int) -> None:
        self.selector.unregister(fd)
        _, status = os.waitpid(self.supervisor, 0)
        code = os.waitstatus_to_exitcode(status)
        self.status = code if code >= 0 else 128 - code

    def on_leader(self, fd: int) -> None:
        self.selector.unregister(fd)
        self.leader_gone = True

    def finished(self) -> bool:
        """PID 1 may outlive a killed supervisor; then somebody must still read its console."""
        return self.status is not None and (self.leader is None or self.leader_gone)

    # -- what is told ----------------------------------------------------------

    def note(self) -> None:
        """Write down who lives, for whoever looks after our starter is gone."""
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
        pids = {"shim": os.getpid(), "supervisor": self.supervisor, "leader": self.leader}
        starts = {name: (pid, start_of(pid)) for name, pid in pids.items() if pid}
        known = {name: pair for name, pair in starts.items() if pair[1] is not None}
        self.put("processes", {"boot": boot, **known})

    def put(self, name: str, value: dict[str, Any]) -> None:
        path = os.path.join(self.folder, name)
        with open(path + ".new", "w") as file:
            json.dump(value, file)
        os.replace(path + ".new", path)

    def report(self, value: dict[str, Any]) -> None:
        self.reported = True
        with contextlib.suppress(OSError):  # whoever started us may be gone
            os.write(1, json.dumps(value).encode() + b"\n")
        null = os.open("/dev/null", os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)

    def fail(self, text: str) -> None:
        tail = self.log.tail.decode(errors="replace").strip()
        said = "".join(c if c.isprintable() or c == "\n" else "�" for c in tail)
        self.report({"error": f"{text}; it said: {said}" if said else text})

    def end(self, console: int) -> None:
        while self.console_open:
            try:
                data = os.read(console, CHUNK)
            except BlockingIOError:
                break
            self.console_open = bool(data)
            self.log.write(data)
        assert self.status is not None
        self.put("exit", {"status": self.status, "oom": self.oom(), "at": time.time()})
        if not self.reported:
            self.fail(f"it ended at once with status {self.status}")

    def oom(self) -> bool:
        if self.task["oom_file"] is None:
            return False
        try:
            with open(self.task["oom_file"]) as file:
                found = re.search(r"^oom_kill ([0-9]+)$", file.read(), re.MULTILINE)
        except OSError:
            return False
        return found is not None and found[1] != "0"


def hear() -> dict[str, Any] | None:
    """The task, with the answer's descriptor as our stdout; None when there is none to come."""
    with socket.socket(fileno=0) as door:
        first, descriptors, _, _ = socket.recv_fds(door, 1, 2)
        if not first:
            return None
        text = b"".join(iter(lambda: door.recv(CHUNK), b""))
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        door.detach()
    _lock, answer = descriptors  # the lock is held for as long as its descriptor is open
    os.dup2(answer, 1)
    os.close(answer)
    found: dict[str, Any] = json.loads(text)
    return found


def main() -> None:
    task = hear()
    if task is None:
        return
    os.chdir("/")
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    try:
        os.setsid()
        for door in task["shim_doors"]:
            with open(door, "w") as file:
                file.write("0")
        if os.fork():
            os._exit(0)  # whoever started us must not have to wait for us
        number = KEYCTL.get(platform.machine())
        if number is not None:  # the operator's session keyring stays outside
            ctypes.CDLL(None).syscall(number, JOIN_SESSION_KEYRING, None)
        Shim(task).run()
    except OSError as error:
        os.write(1, json.dumps({"error": str(error)}).encode() + b"\n")
        raise


if __name__ == "__main__":
    main()
