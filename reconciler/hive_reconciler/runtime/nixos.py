"""The runtime of NixOS hosts: containers by their conf file and NixOS's own `container@` unit.

Not by the nixos-container command: it has an 11-character limit, leaves half-made containers and
builds two at once in one directory. What it shows (list, status, run) works on ours all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import defaultdict
from collections.abc import Callable

from hive_wire.paths import Layout
from hive_wire.spec import NetworkMode

from . import nixos_doctor
from .base import Container, Finding, Observed, Phase, RuntimeFailure
from .checks import check
from .nixos_build import Builder, eval_identity
from .nixos_conf import NETWORKS, Conf, conf_of
from .nixos_files import Files
from .nixos_host import Done, Places, must, run
from .nixos_state import PROPERTIES, Unit, observe, parse_machines, parse_units, unit_of
from .processes import identify
from .watch import Watch

START_SECONDS = 90.0
START_GRACE = 10.0
SWITCH_SECONDS = 180.0
KILL_SECONDS = 30.0
SETTLED_AFTER = (0.5, 2.0, 5.0)
_CONTROLLERS = {"memory": "memory", "cpu": "cpus", "pids": "tasks"}


class NixosRuntime:
    """`builder` makes systems; `places` are NixOS's own unless a test says otherwise."""

    name = "nixos"
    networks: frozenset[NetworkMode] = NETWORKS

    def __init__(self, layout: Layout, builder: Builder, places: Places | None = None) -> None:
        self._layout = layout
        self._builder = builder
        self._places = places or Places()
        self._files = Files(layout, self._places)
        self._busy: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._watch: Watch | None = None

    @classmethod
    def of(cls, layout: Layout) -> NixosRuntime:
        """As services.hive-c0re runs it: HIVE_FLAKE names the hyperhive to build with."""
        flake = os.environ.get("HIVE_FLAKE", "")
        work = layout.root / "builds"
        return cls(layout, Builder(layout.hive_git, work, flake, identity=eval_identity()))

    # -- observe ---------------------------------------------------------------

    async def observe(self) -> tuple[Observed, ...]:
        confs = await asyncio.to_thread(self._files.confs)
        units, machines = await asyncio.gather(self._units(), self._machines())
        self._follow(confs, units)
        return observe(
            confs,
            units,
            machines,
            await asyncio.to_thread(self._files.stopped),
            tag=self._layout.tag,
            unenforced=await asyncio.to_thread(self._unenforced),
        )

    async def _units(self) -> dict[str, Unit]:
        done = await must(
            *("systemctl", "show", "--all", "--timestamp=unix"),
            *(f"--property={','.join(PROPERTIES)}", "container@*.service"),
            reason="ObserveFailed",
        )
        return parse_units(done.out)

    async def _machines(self) -> frozenset[str]:
        done = await must("machinectl", "list", "--output=json", reason="ObserveFailed")
        return parse_machines(done.out)

    async def _phase(self, name: str) -> Phase:
        for seen in await self.observe():
            if seen.name == name:
                return seen.phase
        return Phase.STOPPED

    def _unenforced(self) -> tuple[str, ...]:
        try:
            there = self._places.controllers.read_text().split()
        except OSError:
            there = []
        return tuple(limit for name, limit in _CONTROLLERS.items() if name not in there)

    def adopt(self, on_change: Callable[[str], None]) -> None:
        """Supervisors are watched from the next observation on."""
        loop = asyncio.get_running_loop()

        def ended(name: str) -> None:
            """Now, and when systemd knows it too: it tells nobody."""
            on_change(name)
            for later in SETTLED_AFTER:
                loop.call_later(later, on_change, name)

        self._watch = Watch(ended)

    def _follow(self, confs: tuple[Conf, ...], units: dict[str, Unit]) -> None:
        if self._watch is None:
            return
        for conf in confs:
            unit = units.get(self._layout.machine(conf.name))
            process = identify(unit.pid) if unit is not None and unit.pid is not None else None
            if process is not None:
                self._watch.add(conf.name, (process,))

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    # -- start -----------------------------------------------------------------

    async def start(self, container: Container) -> None:
        check(container)
        await self._refuse_unlimited(container)
        async with self._busy[container.name]:
            phase = await self._phase(container.name)
            before = await asyncio.to_thread(self._files.conf, container.name)
            if phase is Phase.RUNNING and _runs(before, container):
                return
            if phase is not Phase.STOPPED:
                raise RuntimeFailure(
                    "AlreadyRunning", f"{container.name} is {phase.value}: stop it first"
                )
            system = await self._system(container, before)
            conf = conf_of(container, self._layout.root, system)
            await asyncio.to_thread(self._prepare, conf, before)
            await self._limit(container)
            await self._start(container.name)

    async def _refuse_unlimited(self, container: Container) -> None:
        missing = await asyncio.to_thread(self._unenforced)
        if container.limits_required and missing:
            raise RuntimeFailure(
                "LimitsNotEnforced",
                f"no control group holds {', '.join(missing)}, and hive.toml says "
                "[limits] required = true",
                permanent=True,
            )

    async def _system(self, container: Container, before: Conf | None) -> str:
        """The store path to run: that of last time when nothing changed."""
        wanted = (container.revision, container.restart_key)
        if (
            before is not None
            and before.settled
            and (before.revision, before.restart_key) == wanted
        ):
            return before.running
        if container.commit is None:
            raise RuntimeFailure(
                "NothingToBuild", f"{container.name} came without a commit", permanent=True
            )
        name = container.name
        return await self._builder.build(
            container.commit, name, lambda system: self._files.keep(name, "next", system)
        )

    def _prepare(self, conf: Conf, before: Conf | None) -> None:
        if before is None or before.uid != conf.uid:
            self._files.clear_root(conf.name)  # a re-used name inherits nothing
        self._files.mark_stopped(conf.name, stopped=False)
        self._files.keep(conf.name, "running", conf.running)
        self._files.write(conf)

    async def _limit(self, container: Container) -> None:
        await must(
            *("systemctl", "set-property", "--runtime", self._unit(container.name)),
            f"MemoryMax={container.memory}",
            f"TasksMax={container.tasks}",
            f"CPUQuota={container.cpus * 100:g}%",
            reason="LimitRefused",
        )

    async def _start(self, name: str) -> None:
        unit = self._unit(name)
        # A used-up start limit, or what a killed nspawn left, would refuse.
        await self._end(name, grace=START_GRACE)
        started = await run("systemctl", "start", unit, seconds=START_SECONDS)
        if not started.ok:
            said = await self.logs(name, 8)
            await self._end(name, grace=0)
            raise RuntimeFailure("StartFailed", _explained(f"{unit} did not start", started, said))
        if await self._phase(name) is not Phase.RUNNING:
            raise RuntimeFailure("StartFailed", f"{unit} ended as soon as it had started")

    # -- update ----------------------------------------------------------------

    async def update(self, container: Container) -> None:
        check(container)
        async with self._busy[container.name]:
            before = await asyncio.to_thread(self._files.conf, container.name)
            if before is None or await self._phase(container.name) is not Phase.RUNNING:
                raise RuntimeFailure("NotRunning", f"{container.name} does not run: start it")
            await self._limit(container)
            system = await self._system(container, before)
            wanted = conf_of(container, self._layout.root, system)
            if not _takes_in_place(before, wanted):
                raise RuntimeFailure(
                    "NeedsRestart", f"{container.name} takes this over by a restart only"
                )
            await self._switch(before, wanted)

    async def _switch(self, before: Conf, wanted: Conf) -> None:
        """Bring the running container to the wanted system, or back to the former one."""
        between = before.switching_to(wanted.next_system)
        taken = between.took(wanted.revision)
        if before.settled and between.settled:
            await asyncio.to_thread(self._files.write, taken)
            return
        await asyncio.to_thread(self._files.write, between)
        done = await self._reload(wanted.name)
        if done.ok:
            await asyncio.to_thread(self._files.keep, wanted.name, "running", taken.running)
            await asyncio.to_thread(self._files.write, taken)
            return
        said = await self.logs(wanted.name, 8)
        await asyncio.to_thread(self._files.write, before.switching_to(before.running))
        undone = await self._reload(wanted.name)
        if not undone.ok:
            await asyncio.to_thread(self._files.write, between)
        state = "the former system runs again" if undone.ok else "and switching back failed too"
        raise RuntimeFailure("SwitchFailed", _explained(f"switch failed; {state}", done, said))

    async def _reload(self, name: str) -> Done:
        return await run("systemctl", "reload", self._unit(name), seconds=SWITCH_SECONDS)

    # -- stop and destroy ------------------------------------------------------

    async def stop(self, name: str, grace: float) -> None:
        async with self._busy[name]:
            if await asyncio.to_thread(self._files.conf, name) is None:
                return
            await asyncio.to_thread(self._files.mark_stopped, name, stopped=True)
            await self._end(name, grace)
            phase = await self._phase(name)
            if phase is not Phase.STOPPED:
                raise RuntimeFailure("StopFailed", f"{name} is still {phase.value}")

    async def _end(self, name: str, grace: float) -> None:
        """TERM by systemd; KILL after `grace` seconds; what is left outside of the unit too."""
        unit, machine = self._unit(name), self._layout.machine(name)
        stopping = asyncio.create_task(
            run("systemctl", "stop", unit, seconds=grace + 2 * KILL_SECONDS)
        )
        done, _ = await asyncio.wait((stopping,), timeout=grace)
        if not done:
            await run("systemctl", "kill", "--kill-whom=all", "--signal=KILL", unit)
        with contextlib.suppress(RuntimeFailure):
            await stopping
        await run("systemctl", "reset-failed", unit)
        if machine in await self._machines():
            await run("machinectl", "kill", "--signal=KILL", machine)
            await run("machinectl", "terminate", machine)
        # nspawn itself refuses to start where a killed one left this mounted.
        await run("umount", "--quiet", "--lazy", str(self._places.exports / machine))

    async def destroy(self, name: str) -> None:
        async with self._busy[name]:
            if await asyncio.to_thread(self._files.conf, name) is None:
                return
            if await self._phase(name) is not Phase.STOPPED:
                raise RuntimeFailure("StillRunning", f"{name} runs: stop it first")
            await run("systemctl", "revert", self._unit(name))  # its limits
            await asyncio.to_thread(self._files.forget, name)

    # -- tell ------------------------------------------------------------------

    async def logs(self, name: str, limit: int) -> tuple[str, ...]:
        """Of the host's journal: the container's own is the agent's to write."""
        done = await must(
            *("journalctl", "--no-pager", "--quiet", "--output=cat"),
            *(f"--lines={limit}", f"--unit={self._unit(name)}"),
            reason="LogsFailed",
        )
        return tuple(done.out.splitlines())

    async def doctor(self) -> tuple[Finding, ...]:
        return await nixos_doctor.findings(self._places)

    def _unit(self, name: str) -> str:
        return unit_of(self._layout.machine(name))


def _runs(conf: Conf | None, container: Container) -> bool:
    return (
        conf is not None
        and conf.settled
        and (conf.uid, conf.revision) == (container.uid, container.revision)
    )


def _takes_in_place(before: Conf, wanted: Conf) -> bool:
    def bound(conf: Conf) -> tuple[object, ...]:
        return (conf.uid, conf.restart_key, conf.private_network, conf.flags)

    return bound(before) == bound(wanted)


def _explained(what: str, done: Done, said: tuple[str, ...]) -> str:
    return "\n".join((f"{what}: {done.last_words(3)}", *said))
