"""Runs on a booted host: README's story with the units of services.hive-c0re and its containers.

Twice: before and after a reboot of the host.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

from drive import sh, timed, two_boots
from support.story import ByCommand, the_story
from support.swarm import Swarm

SYSTEM = Path("/root/system")
CLONE = Path("/root/clone")
CONFIGURATION = Path("/src/tests/nixos/host/configuration.nix")
PROCESSES = ("hive-c0re", "hive-broker", "hive-gateway", "hive-dashboard")
MANY = [f"x{n}" for n in range(20)]


class Service(Swarm):
    """The swarm of services.hive-c0re."""

    program = (str(SYSTEM / "sw/bin/hive"),)

    def __init__(self) -> None:
        super().__init__(Path("/var/lib/hyperhive"))

    async def report(self) -> str:
        journal = sh("journalctl", "--no-pager", "--boot", "--lines=300", "--output=cat")
        return f"{await super().report()}\n{journal}"

    async def approve(self, n: int, *more: str) -> None:
        shown = await self.shown(n)
        await self.cli("approve", str(n), "--expect", shown["effect"]["digest"], *more)

    async def agent(self, name: str) -> dict[str, Any]:
        agents = (await self.host("status"))["agents"]
        return next(agent for agent in agents if agent["name"] == name)

    async def calm(self, name: str, timeout: float = 60) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            found = await self.agent(name)
            return found if found["in_sync"] else None

        await self.ready(name, timeout)
        return await self.until(f"{name} is in sync", look, timeout)


def activate() -> None:
    """What nixos-rebuild switch does, as far as the stand-in for NixOS goes."""
    Path("/etc/NIXOS").touch()
    sh(
        *("nix", "build", "--impure", "--out-link", str(SYSTEM), "--file", str(CONFIGURATION)),
    )
    for part in ("systemd/system", "sysusers.d", "tmpfiles.d"):
        shutil.copytree(
            SYSTEM / "etc" / part, Path("/run") / part, symlinks=True, dirs_exist_ok=True
        )
    sh("systemd-sysusers")
    sh("systemd-tmpfiles", "--create", "/run/tmpfiles.d/nixos.conf")
    sh("systemctl", "daemon-reload")
    sh("systemctl", "start", "hive-agents", *PROCESSES)


def supervisor(name: str) -> int:
    unit = f"container@{name}.service"
    return int(sh("systemctl", "show", "--property=MainPID", "--value", unit))


def nix(variable: str) -> str:
    return f"{{ environment.variables.{variable} = true; }}\n"


def commit(topic: str, **files: str) -> None:
    """Push a branch on top of `applied` to inbox.git, as a person does."""
    shutil.rmtree(CLONE, ignore_errors=True)
    sh("git", "clone", "-q", "-b", "applied", "/var/lib/hyperhive/hive.git", str(CLONE))
    for path, text in files.items():
        file = CLONE / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    sh("git", "add", ".", cwd=CLONE)
    sh("git", "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", topic, cwd=CLONE)
    sh("git", "push", "-q", "/var/lib/hyperhive/inbox.git", f"HEAD:proposed/{topic}", cwd=CLONE)


async def people(hive: Service) -> None:
    """Members of the group hive may ask; nobody else."""
    status = ("env", "HIVE_ROOT=/var/lib/hyperhive", *hive.program, "status")
    assert "hm1nd" in sh("runuser", "-u", "alice", "--", *status)
    try:
        sh("runuser", "-u", "nobody", "--", *status)
    except AssertionError:
        pass
    else:
        raise AssertionError("nobody may ask host.sock")


async def faults(hive: Service) -> None:
    before = supervisor("hm1nd")
    with timed("restart of all four processes"):
        sh("systemctl", "restart", *PROCESSES)
        await hive.calm("hm1nd")
    assert supervisor("hm1nd") == before, "a restart of the host's processes restarted an agent"
    os.kill(before, signal.SIGKILL)
    with timed("kill -9 of nspawn, then ready"):

        async def another() -> bool:
            return supervisor("hm1nd") not in (0, before)

        await hive.until("another supervisor", another)
        await hive.calm("hm1nd")


async def changes(hive: Service) -> None:
    """A change in place, a failed build and its revert, a rollback."""
    await hive.cli("start", "scout")
    first = await hive.calm("scout")
    start = sh("git", "--git-dir", str(hive.layout.hive_git), "rev-parse", "applied")
    pid = supervisor("h-scout")
    commit("good", **{"agents/scout/agent.nix": nix("GOOD")})
    await hive.approve((await hive.open_proposal("apply"))["n"])
    with timed("update in place"):
        updated = await hive.until("the update", lambda: changed(hive, first["revision"]))
    assert supervisor("h-scout") == pid, "the container was restarted"

    commit("unreadable", **{"agents/scout/agent.nix": "{ syntax error"})
    n = (await hive.open_proposal("apply"))["n"]
    refused = await hive.until("the refusal", lambda: ended(hive, n))
    assert (refused["state"], "syntax error" in refused["reason"]) == ("rejected", True), refused

    commit("bad", **{"agents/scout/agent.nix": nix("BREAKS_THE_BUILD")})
    n = (await hive.open_proposal("apply"))["n"]
    await hive.approve(n)

    async def told() -> str | None:
        said = str((await hive.agent("scout"))["conditions"])
        return said if "the builder gave up" in said and "BuildFailed" in said else None

    await hive.until("the failed build is shown", told)
    assert (await hive.agent("scout"))["running_revision"] == updated["revision"]
    assert supervisor("h-scout") == pid
    await hive.cli("revert", str(n))
    await hive.approve((await hive.open_proposal("revert"))["n"])
    assert (await hive.calm("scout"))["revision"] == updated["revision"]

    await hive.cli("rollback", "scout", start)
    await hive.approve((await hive.open_proposal("revert"))["n"])
    with timed("rollback"):
        back = await hive.until("the rollback", lambda: changed(hive, updated["revision"]))
    assert back["revision"] == first["revision"]


async def ended(hive: Service, n: int) -> dict[str, Any] | None:
    found: dict[str, Any] = await hive.json("show", str(n))
    return None if found["state"] == "open" else found


async def changed(hive: Service, revision: str) -> dict[str, Any] | None:
    found = await hive.agent("scout")
    return found if found["in_sync"] and found["running_revision"] != revision else None


async def many(hive: Service) -> None:
    files: dict[str, str] = {}
    for name in MANY:
        files[f"agents/{name}/agent.toml"] = f'description = "{name}"\n'
        files[f"agents/{name}/prompt.md"] = f"You are {name}.\n"
        files[f"agents/{name}/agent.nix"] = nix(name.upper())
    commit("many", **files)
    await hive.approve((await hive.open_proposal("apply"))["n"])
    with timed("20 agents: from approve to ready"):
        for name in MANY:
            await hive.calm(name, 120)


async def before_reboot() -> None:
    with timed("activate"):
        activate()
    hive = Service()
    with timed("the manager is ready"):
        await hive.ready("hm1nd")
    with timed("README's story"):
        await the_story(hive, ByCommand(hive))
    await people(hive)
    await faults(hive)
    with timed("backup"):
        await hive.cli("backup", "/root/backup")
    assert {"manifest.json", "broker.db"} <= set(os.listdir("/root/backup"))
    await changes(hive)
    await many(hive)
    with timed("enable = false: all stopped"):
        sh("systemctl", "stop", "hive-agents", *PROCESSES)
    units = sh("systemctl", "list-units", "--plain", "--no-legend", "--state=active", "container@*")
    assert units == ""

    async def no_machine() -> bool:
        return json.loads(sh("machinectl", "list", "--output=json") or "[]") == []

    await hive.until("machined forgot them", no_machine)
    state = Path("/var/lib/hyperhive")
    assert (state / "hive.git").is_dir() and len(list((state / "agents").iterdir())) == 22


async def after_reboot() -> None:
    activate()
    hive = Service()
    with timed("after a reboot: 22 agents ready"):
        for name in ("hm1nd", "scout", *MANY):
            await hive.calm(name, 120)
    assert "kept" in {file.name for file in Path("/var/lib/hyperhive").glob("agents/*/state/*")}


two_boots(lambda: asyncio.run(before_reboot()), lambda: asyncio.run(after_reboot()))
