"""systemctl, machinectl, journalctl and nix of a NixOS host, as far as the nixos runtime asks them.

Run as a program: `fake_nixos.py systemctl start container@x.service`. Units are real processes;
$FAKE_HOST holds their state, and files under faults/ switch on what went wrong on real hosts.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOST = Path(os.environ.get("FAKE_HOST", "/nonexistent"))
PROGRAMS = ("systemctl", "machinectl", "journalctl", "nix")
EMPTY: dict[str, Any] = {"units": {}, "machines": [], "journal": [], "calls": []}
NEW: dict[str, Any] = {
    "active": "inactive",
    "result": "success",
    "pid": 0,
    "code": 0,
    "status": 0,
    "entered": "",
    "failures": 0,
    "properties": [],
}


class Host:
    """The state, locked for as long as one program changes it."""

    def __enter__(self) -> Host:
        self._lock = (HOST / "lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        file = HOST / "state.json"
        self.state = (
            json.loads(file.read_text()) if file.exists() else json.loads(json.dumps(EMPTY))
        )
        return self

    def __exit__(self, *_: object) -> None:
        fresh = HOST / "state.new"  # tests read it without the lock
        fresh.write_text(json.dumps(self.state))
        fresh.rename(HOST / "state.json")
        self._lock.close()

    def unit(self, name: str) -> dict[str, Any]:
        unit: dict[str, Any] = self.state["units"].setdefault(name, dict(NEW))
        if unit["active"] == "active" and not alive(unit["pid"]):
            unit.update(active="failed", result="signal", pid=0, code=2, status=9)
            if fault("starts-again"):
                unit.update(active="activating", sub="auto-restart")
                return unit
            if fault("stays-registered"):
                return unit
            self.release(name)
        return unit

    def release(self, name: str) -> None:
        self.state["machines"] = [m for m in self.state["machines"] if m != machine(name)]

    def say(self, line: str) -> None:
        self.state["journal"].append(line)


def fault(name: str) -> bool:
    return (HOST / "faults" / name).exists()


def machine(unit: str) -> str:
    return unit.removeprefix("container@").removesuffix(".service")


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def conf(unit: str) -> dict[str, str]:
    text = (HOST / "confs" / f"{machine(unit)}.conf").read_text()
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def start(host: Host, name: str) -> int:
    unit = host.unit(name)
    if unit["active"] in ("active", "activating"):
        return 0  # as `systemctl start --no-block`: it is being tried already
    if unit["failures"] >= 5:
        sys.stderr.write(f"{name}: Start request repeated too quickly.\n")
        return 1
    if machine(name) in host.state["machines"]:
        unit.update(active="failed", result="exit-code", failures=5, code=1, status=1)
        host.say(f"Machine '{machine(name)}' already exists")
        return 1
    values = conf(name)
    for flag in values["EXTRA_NSPAWN_FLAGS"].strip('"').split():
        if flag.startswith(("--bind=", "--bind-ro=")):
            source = flag.split("=", 1)[1].split(":")[0]
            if not Path(source).exists():
                unit.update(active="failed", result="exit-code", code=1, status=1)
                host.say(f"Failed to clone {source}: No such file or directory")
                return 1
    (HOST / "roots" / machine(name) / "etc").mkdir(parents=True, exist_ok=True)
    payload = subprocess.Popen(
        ["sleep", "600"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    host.state["machines"].append(machine(name))
    unit.update(active="active", result="success", pid=payload.pid, entered=f"@{int(time.time())}")
    unit["started_with"] = values["SYSTEM_PATH"]
    host.say(f"started {values['SYSTEM_PATH']}")
    return 0


def stop(host: Host, name: str) -> int:
    unit = host.unit(name)
    if unit["active"] == "active":
        os.kill(unit["pid"], signal.SIGKILL)
        unit.update(active="inactive", result="success", pid=0, code=1, status=0)
        host.release(name)
    elif unit["active"] == "activating":
        unit.update(active="inactive", sub="dead")
        host.release(name)
    return 0


def wait_for_kill(name: str) -> int:
    """A leftover exec: the stop lasts until somebody kills, and the name stays registered."""
    (HOST / "hanging").touch()
    while not (HOST / "killed").exists():
        time.sleep(0.02)
    with Host() as host:
        host.unit(name).update(active="failed", result="timeout", pid=0, code=2, status=9)
    return 1


def systemctl(argv: list[str]) -> int:
    verb, name = argv[0], argv[-1]
    if verb == "stop" and fault("leftover-exec"):
        with Host() as host:
            running = host.unit(name)["active"] == "active"
        if running:
            return wait_for_kill(name)
    with Host() as host:
        host.state["calls"].append(["systemctl", *argv])
        return VERBS[verb](host, argv)


def show(host: Host, _: list[str]) -> int:
    if fault("bus-is-away"):
        sys.stderr.write("Failed to connect to bus\n")
        return 1
    for name in list(host.state["units"]):
        unit = host.unit(name)
        memory = "1048576" if unit["active"] == "active" else "[not set]"
        sys.stdout.write(
            f"Id={name}\nActiveState={unit['active']}\nSubState={unit.get('sub', 'x')}\nResult={unit['result']}\n"
            f"MainPID={unit['pid']}\nExecMainCode={unit['code']}\nExecMainStatus={unit['status']}\n"
            f"ActiveEnterTimestamp={unit['entered']}\nMemoryCurrent={memory}\nTasksCurrent=3\n\n"
        )
    return 0


def kill(host: Host, argv: list[str]) -> int:
    unit = host.unit(argv[-1])
    if unit["pid"]:
        os.kill(unit["pid"], signal.SIGKILL)
    (HOST / "killed").touch()
    return 0


def reload(host: Host, argv: list[str]) -> int:
    system = conf(argv[-1])["SYSTEM_PATH"]
    host.say(f"switching to {system}")
    if fault("switch-fails") and "bad" in Path(HOST / "built" / Path(system).name).read_text():
        host.say("unit hive-x.service failed")
        return 4
    host.unit(argv[-1])["started_with"] = system
    return 0


def set_property(host: Host, argv: list[str]) -> int:
    name = next(word for word in argv if word.startswith("container@"))
    host.unit(name)["properties"] = [word for word in argv if "=" in word]
    return 0


def reset_failed(host: Host, argv: list[str]) -> int:
    unit = host.unit(argv[-1])
    if unit["active"] == "failed":
        unit["active"] = "inactive"
    unit["failures"] = 0
    return 0


VERBS: dict[str, Callable[[Host, list[str]], int]] = {
    "show": show,
    "start": lambda host, argv: start(host, argv[-1]),
    "stop": lambda host, argv: stop(host, argv[-1]),
    "kill": kill,
    "reload": reload,
    "set-property": set_property,
    "reset-failed": reset_failed,
    "revert": lambda host, argv: host.unit(argv[-1]).update(properties=[]) or 0,
    "cat": lambda *_: int(not sys.stdout.write("[Service]\nTimeoutStopSec=10\n")),
}


def machinectl(argv: list[str]) -> int:
    with Host() as host:
        host.state["calls"].append(["machinectl", *argv])
        if argv[0] == "list":
            sys.stdout.write(json.dumps([{"machine": m} for m in host.state["machines"]]))
        elif argv[0] == "show":
            name = argv[1]
            sys.stdout.write(host.state.get("theirs", {}).get(name, f"container@{name}.service"))
        elif argv[0] == "terminate":
            host.release(f"container@{argv[-1]}.service")
    return 0


def journalctl(argv: list[str]) -> int:
    with Host() as host:
        count = int(next(word for word in argv if word.startswith("--lines=")).split("=")[1])
        sys.stdout.write("".join(line + "\n" for line in host.state["journal"][-count:]))
    return 0


def nix(argv: list[str]) -> int:
    """Builds a name from agent.nix and agent.toml's role: what a real system depends on."""
    if "build" not in argv:
        sys.stdout.write("nix (fake) 2.31\n")
        return 0
    source = Path(argv[-1].split("#")[0].removeprefix("path:"))
    container = argv[-1].split('"')[1]
    agent = source / "agents" / container.removeprefix("h-")
    text = (agent / "agent.nix").read_text()
    if "syntax error" in text:
        sys.stderr.write(f"error: syntax error, unexpected end of file\n  at {agent}/agent.nix:1\n")
        return 1
    digest = hashlib.sha256(f"{container}{text}".encode()).hexdigest()[:32]
    system = f"/nix/store/{digest}-nixos-system-{container}"
    (HOST / "built").mkdir(exist_ok=True)
    (HOST / "built" / Path(system).name).write_text(text)
    Path(argv[argv.index("--out-link") + 1]).symlink_to(system)
    with Host() as host:
        host.state["calls"].append(["nix", container, (source / "flake.nix").read_text()])
    return 0


def install(host: Path) -> Path:
    """Make a host's directory; returns the one to put on PATH."""
    programs = host / "bin"
    for directory in (programs, host / "faults", host / "confs", host / "roots"):
        directory.mkdir(parents=True)
    for name in PROGRAMS:
        script = programs / name
        script.write_text(
            f'#!/bin/sh\nFAKE_HOST={host} exec {sys.executable} -S {__file__} {name} "$@"\n'
        )
        script.chmod(0o755)
    return programs


if __name__ == "__main__":
    program = {
        "systemctl": systemctl,
        "machinectl": machinectl,
        "journalctl": journalctl,
        "nix": nix,
    }
    sys.exit(program[sys.argv[1]](sys.argv[2:]))
