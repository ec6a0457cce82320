"""systemd's `container@` units of one root, and machined's machines of them."""

from __future__ import annotations

import asyncio
import contextlib

from hive_wire.paths import Layout

from .base import Container, RuntimeFailure
from .nixos_host import Done, Places, must, run
from .nixos_state import PROPERTIES, Unit, parse_machines, parse_units, unit_of

SWITCH_SECONDS = 180.0
KILL_SECONDS = 30.0


class Units:
    """By the container's name. Raises RuntimeFailure."""

    def __init__(self, layout: Layout, places: Places) -> None:
        self._layout = layout
        self._places = places

    async def show(self) -> dict[str, Unit]:
        done = await must(
            *("systemctl", "show", "--all", "--timestamp=unix"),
            *(f"--property={','.join(PROPERTIES)}", "container@*.service"),
            reason="ObserveFailed",
        )
        return parse_units(done.out)

    async def machines(self) -> frozenset[str]:
        done = await must("machinectl", "list", "--output=json", reason="ObserveFailed")
        return parse_machines(done.out)

    async def refuse_taken(self, name: str) -> None:
        """For a name of which we have no conf. Raises RuntimeFailure, NameTaken."""
        machine = self._layout.machine(name)
        if machine in await self.machines():
            raise _taken(machine)

    async def limit(self, container: Container) -> None:
        percent = f"{max(1.0, container.cpus * 100):.2f}"  # systemd reads hundredths at most
        await must(
            *("systemctl", "set-property", "--runtime", self.name(container.name)),
            f"MemoryMax={container.memory}",
            "MemorySwapMax=0",
            f"TasksMax={container.tasks}",
            f"CPUQuota={percent.rstrip('0').rstrip('.')}%",
            reason="LimitRefused",
        )

    async def reload(self, name: str) -> Done:
        return await run("systemctl", "reload", self.name(name), seconds=SWITCH_SECONDS)

    async def end(self, name: str, grace: float) -> None:
        """TERM by systemd; KILL after `grace` seconds; what is left outside of the unit too, but
        no machine of another unit."""
        unit, machine = self.name(name), self._layout.machine(name)
        stopping = asyncio.create_task(
            run("systemctl", "stop", unit, seconds=grace + 2 * KILL_SECONDS)
        )
        done, _ = await asyncio.wait((stopping,), timeout=grace)
        if not done:
            await run("systemctl", "kill", "--kill-whom=all", "--signal=KILL", unit)
        with contextlib.suppress(RuntimeFailure):
            await stopping
        await run("systemctl", "reset-failed", unit)
        if machine in await self.machines():
            shown = await run("machinectl", "show", machine, "--property=Unit", "--value")
            if shown.ok and shown.out.strip() not in (
                "",
                unit,
            ):  # as of systemd-nspawn@NAME.service
                raise _taken(machine)
            await run("machinectl", "kill", "--signal=KILL", machine)
            await run("machinectl", "terminate", machine)
        # nspawn itself refuses to start where a killed one left this mounted.
        await run("umount", "--quiet", "--lazy", str(self._places.exports / machine))

    async def logs(self, name: str, limit: int) -> tuple[str, ...]:
        """Of the host's journal: the container's own is the agent's to write."""
        done = await must(
            *("journalctl", "--no-pager", "--quiet", "--output=cat"),
            *(f"--lines={limit}", f"--unit={self.name(name)}"),
            reason="LogsFailed",
        )
        return tuple(done.out.splitlines())

    def name(self, name: str) -> str:
        return unit_of(self._layout.machine(name))


def _taken(machine: str) -> RuntimeFailure:
    return RuntimeFailure(
        "NameTaken",
        f"the machine {machine} that runs here is not ours: rename the agent, or end that "
        f"machine (machinectl terminate {machine})",
    )
