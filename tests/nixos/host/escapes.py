"""Ways out of a container. Each must fail in an agent's; those that a NixOS container has by
default must work in such a one on the same host, or the check would check nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from drive import sh

DEFAULT = "control"  # a container with NixOS's own settings
CONFS = Path("/etc/nixos-containers")
DAEMON = "/nix/var/nix/daemon-socket"


def connects(family: str, address: str) -> str:
    return f'python3 -c "import socket; socket.socket(socket.{family}).connect({address})"'


# As a child of the container's own: what enters from outside is under no filter of system calls.
SERVICE = "systemd-run --quiet --wait --collect /usr/bin/python3 -c"
ASK_DAEMON = connects("AF_UNIX", f"'{DAEMON}/socket'")


@dataclass(frozen=True)
class Escape:
    """`left` is what it leaves on the host when it works."""

    script: str
    by_default: bool = True  # whether a default container lets it happen
    left: str = ""


ESCAPES = (
    Escape(
        "mount -o remount,rw,bind /nix/store && touch /nix/store/escaped",
        left="/nix/store/escaped",
    ),
    Escape("mount -o remount,rw,bind /usr && touch /usr/escaped", left="/usr/escaped"),
    Escape(f"{ASK_DAEMON} || {{ umount -l {DAEMON}; {ASK_DAEMON}; }}"),
    Escape(connects("AF_INET", "('127.0.0.1', 7099)")),
    Escape(connects("AF_UNIX", "chr(0) + 'hive-escape'")),
    Escape(f"{SERVICE} 'import socket; socket.socket(socket.AF_VSOCK)'", False),
    Escape(
        f"{SERVICE} 'import ctypes; "
        "exit(ctypes.CDLL(None).syscall(425, 1, bytes(120)) < 0)'",  # io_uring_setup
        False,
    ),
    Escape("touch /run/hive/x", False),
    Escape("mknod /dev/disk b 7 0 && : </dev/disk", False),
    Escape("ls /var/lib/hyperhive", False),
    Escape("echo 1 >/proc/sys/kernel/panic", False),
    Escape("grep -qz '8642[1]' /proc/[0-9]*/cmdline", False),
)


def leader(name: str) -> str:
    return sh("machinectl", "show", name, "--property=Leader", "--value")


def inside(name: str, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["nsenter", "--all", "--target", leader(name), "--", "/bin/sh", "-c", script],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )


async def all_fail(agent: str, state: Path) -> None:
    """`agent` is a running container; `state` is its /state on the host."""
    async with _host_services(), _default_container(agent):
        for escape in ESCAPES:
            tried = inside(agent, escape.script)
            assert tried.returncode != 0, f"{escape.script!r} succeeded: {tried.stdout}"
            assert not escape.left or not Path(escape.left).exists(), f"{escape.left} was written"
        for escape in ESCAPES:
            if escape.by_default:
                tried = inside(DEFAULT, escape.script)
                assert tried.returncode == 0, f"{escape.script!r} proves nothing: {tried.stderr}"
            if escape.left:
                os.unlink(escape.left)
    store = [line for line in _mounts(agent) if line.split()[1] == "/nix/store"]
    assert store and all("ro" in line.split()[3].split(",") for line in store), store
    mapped = inside(agent, "cat /proc/self/uid_map").stdout.split()
    assert mapped[:1] == ["0"] and mapped[1] != "0", mapped
    assert inside(agent, "ls /sys/class/net").stdout.split() == ["lo"]
    assert inside(agent, f"{SERVICE} 'import socket'").returncode == 0
    _no_help_from_outside(agent, state)


def _no_help_from_outside(agent: str, state: Path) -> None:
    """What root in there makes is root's out here; so nobody else may reach it."""
    own = Path("/var/lib/nixos-containers", agent)
    for place, outside in (("/state/sh", state / "sh"), ("/var/sh", own / "var/sh")):
        made = inside(agent, f"cp /bin/sh {place} && chmod 4755 {place}")
        assert made.returncode == 0, made.stderr
        assert outside.stat().st_uid == 0 or place != "/state/sh", "idmap: root's outside, too"
        reached = subprocess.run(
            ["runuser", "-u", "nobody", "--", "test", "-x", str(outside)], check=False
        )
        assert reached.returncode != 0, f"a setuid program of an agent is in reach: {outside}"
        outside.unlink()
    for folder in ("profiles", "gcroots"):
        inside(agent, f"touch /nix/var/nix/{folder}/x")
        there = Path("/nix/var/nix", folder, "per-container", agent)
        assert list(there.iterdir()) == [], f"an agent writes into {there}"


def _mounts(name: str) -> list[str]:
    return inside(name, "cat /proc/mounts").stdout.splitlines()


@contextlib.asynccontextmanager
async def _host_services() -> AsyncIterator[None]:
    """What an agent must not reach: a port, an abstract socket and a process of the host."""
    with socket.create_server(("127.0.0.1", 7099)), socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("\0hive-escape")
        abstract.listen()
        process = await asyncio.create_subprocess_exec("sleep", "86421")
        try:
            yield
        finally:
            process.kill()
            await process.wait()


@contextlib.asynccontextmanager
async def _default_container(like: str) -> AsyncIterator[None]:
    """A container of the same system with the settings that NixOS gives one by default."""
    wanted = (CONFS / f"{like}.conf").read_text().splitlines()
    (system,) = [line for line in wanted if line.startswith("SYSTEM_PATH=")]
    conf = CONFS / f"{DEFAULT}.conf"
    conf.write_text(f"{system}\n")
    unit = f"container@{DEFAULT}.service"
    await asyncio.to_thread(sh, "systemctl", "start", unit)
    try:
        yield
    finally:
        await asyncio.to_thread(sh, "systemctl", "stop", unit)
        conf.unlink()
        await asyncio.to_thread(sh, "rm", "-r", f"/var/lib/nixos-containers/{DEFAULT}")
