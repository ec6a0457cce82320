"""Runs on a booted host that is no NixOS: pkgs/hyperhive.service, before and after a reboot."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path

from drive import sh, timed, two_boots
from support.proc import processes
from support.swarm import Swarm

UNIT = "hyperhive.service"
UNITS = Path("/etc/systemd/system")
CODE = ":".join(
    f"/usr/src/hive/{name}"
    for name in ("wire", "reconciler", "broker", "gateway", "harness", "dashboard")
)
# As `systemctl edit` writes it. What ./hive does first, which is to fetch packages, is done here.
EDITED = f"""[Service]
Environment=PYTHONPATH={CODE}:/usr/src/python PYTHONDONTWRITEBYTECODE=1
ExecStart=
ExecStart=/usr/bin/python3 -m hive_reconciler.app.cli up --rehearse
"""


class Unit(Swarm):
    def __init__(self) -> None:
        super().__init__(Path("/var/lib/hyperhive"))

    async def report(self) -> str:
        return f"{await super().report()}\n{said()}"

    async def boot(self) -> str:
        """Of the manager's harness: another one says that its container was restarted."""
        await self.ready("hm1nd")
        agents = (await self.broker("agents"))["agents"]
        return str(next(agent["boot"] for agent in agents if agent["name"] == "hm1nd"))

    async def ended(self) -> None:
        async def inactive() -> bool:
            return shown("ActiveState") == "inactive"

        await self.until("the unit is inactive", inactive)
        assert shown("Result") == "success"
        left = [p.command for p in processes() if any("hive_" in word for word in p.command)]
        assert left == [], left


def shown(name: str) -> str:
    return sh("systemctl", "show", f"--property={name}", "--value", UNIT)


def said() -> str:
    """What hive up printed."""
    return sh("journalctl", "--no-pager", "--output=cat", f"--unit={UNIT}")


def install() -> None:
    shutil.copy("/src/pkgs/hyperhive.service", UNITS)
    (UNITS / f"{UNIT}.d").mkdir()
    (UNITS / f"{UNIT}.d/override.conf").write_text(EDITED)
    sh("systemctl", "daemon-reload")
    sh("systemctl", "enable", "--now", UNIT)


async def a_death(hive: Unit) -> None:
    """Of `hive up`: systemd starts it again, and no container ends."""
    before, boot = shown("MainPID"), await hive.boot()
    os.kill(int(before), signal.SIGKILL)

    async def another() -> bool:
        return shown("MainPID") not in ("0", before) and shown("ActiveState") == "active"

    await hive.until("systemd started it again", another)
    assert await hive.boot() == boot


async def before_reboot() -> None:
    install()
    hive = Unit()
    with timed("the manager is ready"):
        await hive.ready("hm1nd")
    assert "hive login" in said() and "login#" not in said()
    with timed("hive up is killed and comes back"):
        await a_death(hive)
    with timed("hive down"):
        await hive.cli("down")
        await hive.ended()
    with timed("start and stop by systemd"):
        sh("systemctl", "start", UNIT)
        await hive.ready("hm1nd")
        sh("systemctl", "stop", UNIT)
        await hive.ended()
    assert said().count("stopped hm1nd") == 1, "hive down had stopped it the first time"
    sh("systemctl", "start", UNIT)
    await hive.ready("hm1nd")


async def after_reboot() -> None:
    with timed("after a reboot: the manager is ready"):
        await Unit().ready("hm1nd")


two_boots(lambda: asyncio.run(before_reboot()), lambda: asyncio.run(after_reboot()))
