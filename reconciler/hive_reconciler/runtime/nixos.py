"""The runtime of NixOS hosts: containers by their conf file and NixOS's own `container@` unit.

Not by the nixos-container command: it has an 11-character limit, leaves half-made containers and
builds two at once in one directory. What it shows (list, status, run) works on ours all the same.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from hive_wire.paths import Layout
from hive_wire.terms import NetworkMode

from . import nixos_doctor
from .base import Container, Finding, Observed, Phase, RuntimeFailure
from .checks import check
from .nixos_build import Builder, eval_identity
from .nixos_conf import NETWORKS, OUTDATED, Conf, conf_of
from .nixos_declared import Declared
from .nixos_files import Files
from .nixos_host import Done, Places, run
from .nixos_state import Unit, observe
from .nixos_units import Units
from .processes import identify
from .watch import Watch

START_SECONDS = 90.0
START_GRACE = 10.0
SETTLED_AFTER = (0.5, 2.0, 5.0)
_CONTROLLERS = {"memory": "memory", "cpu": "cpus", "pids": "tasks"}


class NixosRuntime:
    """`systems` makes or knows them; `places` are NixOS's own unless a test says otherwise."""

    name = "nixos"
    networks: frozenset[NetworkMode] = NETWORKS

    def __init__(self, layout: Layout, systems: Systems, places: Places | None = None) -> None:
        self._layout = layout
        self._systems = systems
        self._places = places or Places()
        self._files = Files(layout, self._places)
        self._units = Units(layout, self._places)
        self._built: dict[str, tuple[tuple[str, str], str]] = {}  # what for, and the store path
        self._busy: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._watch: Watch | None = None
        self._sweep: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, layout: Layout) -> NixosRuntime:
        """As services.hive-c0re runs it: HIVE_SYSTEMS lists what the host's configuration built,
        else HIVE_FLAKE names the hyperhive to build with."""
        if declared := os.environ.get("HIVE_SYSTEMS"):
            return cls(layout, Declared(layout.hive_git, Path(declared)), Places.of_host())
        flake = os.environ.get("HIVE_FLAKE", "")
        work = layout.root / "builds"
        builder = Builder(layout.hive_git, work, flake, identity=eval_identity())
        return cls(layout, builder, Places.of_host())

    # -- observe ---------------------------------------------------------------

    async def observe(self) -> tuple[Observed, ...]:
        confs = await asyncio.to_thread(self._files.confs)
        units, machines = await asyncio.gather(self._units.show(), self._units.machines())
        self._follow(confs, units)
        seen = observe(
            confs,
            units,
            machines,
            await asyncio.to_thread(self._files.stopped),
            tag=self._layout.tag,
            unenforced=await asyncio.to_thread(self._unenforced),
        )
        by_name = {conf.name: conf for conf in confs}
        return tuple(self._judged(by_name[one.name], one) for one in seen)

    def _judged(self, conf: Conf, seen: Observed) -> Observed:
        """One that runs another system than the host declares runs no known revision; one that was
        started with other flags than we start with now needs a restart."""
        if self._systems.current(conf.name) not in (None, conf.running):
            seen = replace(seen, revision=None)
        if seen.restart_key is not None and not conf.is_closed:
            seen = replace(seen, restart_key=OUTDATED)
        return seen

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
        left = self._files.cut_off()  # named before anybody evaluates or builds
        self._sweep = asyncio.create_task(asyncio.to_thread(self._files.sweep, left))

    def _follow(self, confs: tuple[Conf, ...], units: dict[str, Unit]) -> None:
        if self._watch is None:
            return
        for conf in confs:
            unit = units.get(self._layout.machine(conf.name))
            process = identify(unit.pid) if unit is not None and unit.pid is not None else None
            if process is not None:
                self._watch.add(conf.name, (process,))

    async def close(self) -> None:
        if self._sweep is not None:
            await asyncio.gather(self._sweep, return_exceptions=True)
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    # -- start -----------------------------------------------------------------

    async def prepare(self, container: Container) -> None:
        """Evaluate and build; `start` and `update` take over what was built."""
        check(container)
        await self._system(container, await asyncio.to_thread(self._files.conf, container.name))

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
            if before is None:  # whatever has the name is somebody else's
                await self._units.refuse_taken(container.name)
                await asyncio.to_thread(self._files.refuse_taken, container.name)
            await asyncio.to_thread(self._prepare, conf, before)
            await self._units.limit(container)
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
        if self._sweep is not None:
            await asyncio.wait([self._sweep])  # it must not take what is kept from here on
        wanted = (container.revision, container.restart_key)
        current = self._systems.current(container.name)
        if (
            before is not None
            and before.settled
            and (before.revision, before.restart_key) == wanted
            and current in (None, before.running)
        ):
            return before.running
        key, system = self._built.get(container.name, (None, ""))
        fits = key == wanted and current in (None, system)
        if fits and await asyncio.to_thread(os.path.exists, system):
            return system
        if container.commit is None:
            raise RuntimeFailure(
                "NothingToBuild", f"{container.name} came without a commit", permanent=True
            )
        name = container.name
        system = await self._systems.build(
            container.commit, name, lambda system: self._files.keep(name, "next", system)
        )
        self._built[name] = (wanted, system)
        return system

    def _prepare(self, conf: Conf, before: Conf | None) -> None:
        if before is not None and before.uid != conf.uid:
            self._files.clear_root(conf.name)  # a re-used name inherits nothing
        self._files.seal()
        self._files.mark_stopped(conf.name, stopped=False)
        self._files.keep(conf.name, "running", conf.running)
        self._files.write(conf)

    async def _start(self, name: str) -> None:
        unit = self._units.name(name)
        # A used-up start limit, or what a killed nspawn left, would refuse.
        await self._units.end(name, grace=START_GRACE)
        started = await run("systemctl", "start", unit, seconds=START_SECONDS)
        if not started.ok:
            said = await self._units.logs(name, 8)
            await self._units.end(name, grace=0)
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
            await self._units.limit(container)
            system = await self._system(container, before)
            wanted = conf_of(container, self._layout.root, system)
            if not _takes_in_place(before, wanted):
                if (before.uid, before.restart_key) == (wanted.uid, wanted.restart_key):
                    # Else what is seen would lead to the same update again and again.
                    await asyncio.to_thread(self._files.write, before.outdated())
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
        done = await self._units.reload(wanted.name)
        if done.ok:
            await asyncio.to_thread(self._files.keep, wanted.name, "running", taken.running)
            await asyncio.to_thread(self._files.write, taken)
            return
        said = await self._units.logs(wanted.name, 8)
        await asyncio.to_thread(self._files.write, before.switching_to(before.running))
        undone = await self._units.reload(wanted.name)
        if not undone.ok:
            await asyncio.to_thread(self._files.write, between)
        state = "the former system runs again" if undone.ok else "and switching back failed too"
        raise RuntimeFailure("SwitchFailed", _explained(f"switch failed; {state}", done, said))

    # -- stop and destroy ------------------------------------------------------

    async def stop(self, name: str, grace: float) -> None:
        async with self._busy[name]:
            if await asyncio.to_thread(self._files.conf, name) is None:
                return
            await asyncio.to_thread(self._files.mark_stopped, name, stopped=True)
            await self._units.end(name, grace)
            phase = await self._phase(name)
            if phase is not Phase.STOPPED:
                raise RuntimeFailure("StopFailed", f"{name} is still {phase.value}")

    async def destroy(self, name: str) -> None:
        async with self._busy[name]:
            if await asyncio.to_thread(self._files.conf, name) is None:
                return
            if await self._phase(name) is not Phase.STOPPED:
                raise RuntimeFailure("StillRunning", f"{name} runs: stop it first")
            # systemd may be trying it again, and machined know it still: the next of its name
            # could not tell either from somebody else's.
            await self._units.end(name, START_GRACE)
            await run("systemctl", "revert", self._units.name(name))  # its limits
            await asyncio.to_thread(self._files.forget, name)

    # -- tell ------------------------------------------------------------------

    async def logs(self, name: str, limit: int) -> tuple[str, ...]:
        return await self._units.logs(name, limit)

    async def doctor(self) -> tuple[Finding, ...]:
        return await nixos_doctor.findings(self._places)


class Systems(Protocol):
    """Where systems come from; see Builder and Declared."""

    def current(self, container: str, /) -> str | None: ...

    async def build(self, commit: str, container: str, keep: Callable[[str], None]) -> str: ...


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
