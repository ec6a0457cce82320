"""Runs on a booted host with systemd, machined and nix: the nixos runtime through its whole life.

Twice: before and after a reboot of the host. Writes what it measured to /out/report.json and, at
the end, `ok` to /out/result.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import escapes
from drive import OUT, sh, timed, two_boots
from escapes import inside, leader

from hive_reconciler.core.files import Owners, make_agent
from hive_reconciler.runtime.base import Bind, Container, Observed, Phase, RuntimeFailure
from hive_reconciler.runtime.nixos import NixosRuntime
from hive_reconciler.runtime.nixos_build import Builder, eval_identity
from hive_reconciler.runtime.nixos_state import PROPERTIES
from hive_wire.paths import SYSTEM_ROOT, SYSTEM_RUN, Layout

LAYOUT = Layout(SYSTEM_ROOT, SYSTEM_RUN, "")
WORK = Path("/root/work")
MANY = [f"x{n}" for n in range(12)]


def open_runtime() -> NixosRuntime:
    identity = eval_identity()
    assert identity is not None, "evaluation runs as hive-eval"
    builder = Builder(
        LAYOUT.hive_git,
        LAYOUT.root / "builds",
        "path:/src",
        identity=identity,
    )
    return NixosRuntime(LAYOUT, builder)


def commit(**agents: str) -> str:
    """A commit in which these agents have these agent.nix files."""
    if not WORK.exists():
        sh("git", "init", "-q", "-b", "applied", str(WORK))
        sh("git", "init", "-q", "--bare", str(LAYOUT.hive_git))
        (WORK / "hive.toml").write_text('schema = 1\n[defaults]\nengine = "rehearsal"\n')
    for name, nix in agents.items():
        directory = WORK / "agents" / name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "agent.toml").write_text(f'description = "{name}"\n')
        (directory / "agent.nix").write_text(nix)
    sh("git", "add", ".", cwd=WORK)
    sh("git", "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "x", cwd=WORK)
    sh("git", "push", "-q", str(LAYOUT.hive_git), "applied", cwd=WORK)
    return sh("git", "rev-parse", "HEAD", cwd=WORK)


def nix(variable: str) -> str:
    return f"{{ environment.variables.{variable} = true; }}\n"


def container(name: str, revision: str, at: str | None) -> Container:
    uid = f"{name:0<12}"
    home, run = LAYOUT.agent(uid), LAYOUT.agent_run(uid)
    run.parent.mkdir(parents=True, exist_ok=True)
    make_agent(LAYOUT, uid, Owners.of(LAYOUT))
    return Container(
        name=f"h-{name}",
        uid=uid,
        agent=name,
        role="agent",
        revision=revision,
        restart_key="k",
        memory=1 << 29,
        cpus=1.0,
        tasks=512,
        limits_required=False,
        network="none",
        binds=(
            Bind(run, Path("/run/hive")),
            Bind(home / "state", Path("/state"), read_only=False, idmap=True),
            Bind(home / "claude", Path("/root/.claude"), read_only=False, idmap=True),
        ),
        environment=(),
        argv=("/unused",),
        commit=at,
    )


async def seen(runtime: NixosRuntime, name: str) -> Observed:
    (found,) = [o for o in await runtime.observe() if o.name == f"h-{name}"]
    return found


async def a_life(runtime: NixosRuntime) -> None:
    first = commit(a=nix("ONE"))
    with timed("build and start"):
        await runtime.start(container("a", "r1", first))
    now = await seen(runtime, "a")
    assert (now.phase, now.revision) == (Phase.RUNNING, "r1"), now
    supervisor = sh("systemctl", "show", "--property=MainPID", "--value", "container@h-a.service")
    with timed("build and update in place"):
        await runtime.update(container("a", "r2", commit(a=nix("TWO"))))
    assert (await seen(runtime, "a")).revision == "r2"
    assert supervisor == sh(
        "systemctl", "show", "--property=MainPID", "--value", "container@h-a.service"
    ), "the container was restarted"
    running = inside("h-a", "cat /run/current-system/configuration.json").stdout
    assert '"TWO":true' in running, running

    await failure(
        runtime.update(container("a", "r3", commit(a=nix("BREAKS_THE_SWITCH")))), "former"
    )
    assert (await seen(runtime, "a")).revision == "r2"
    await failure(runtime.update(container("a", "r4", commit(a="{ syntax error"))), "syntax error")
    assert (await seen(runtime, "a")).revision == "r2"
    with timed("stop"):
        await runtime.stop("h-a", 10)
    assert (await seen(runtime, "a")).phase is Phase.STOPPED
    with timed("start without a build"):
        await runtime.start(container("a", "r2", None))
    with timed("observe"):
        await runtime.observe()


async def failure(attempt: Any, words: str) -> None:
    try:
        await attempt
    except RuntimeFailure as failed:
        assert words in failed.message, failed.message
    else:
        raise AssertionError(f"no failure with {words!r}")


async def faults(runtime: NixosRuntime) -> None:
    noticed = asyncio.Event()
    runtime.adopt(lambda _: noticed.set())
    await runtime.observe()
    pid = int(sh("systemctl", "show", "--property=MainPID", "--value", "container@h-a.service"))
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        await noticed.wait()
    with timed("stop after kill -9 of nspawn"):
        await runtime.stop("h-a", 10)
    with timed("start after kill -9 of nspawn"):
        await runtime.start(container("a", "r2", None))

    left = subprocess.Popen(
        ["nsenter", "--all", "--target", leader("h-a"), "--", "/bin/sleep", "600"],
        stdin=subprocess.DEVNULL,
    )
    try:
        with timed("stop with a leftover exec"):
            await runtime.stop("h-a", 5)
        with timed("start after a leftover exec"):
            await runtime.start(container("a", "r2", None))
    finally:
        left.kill()
        left.wait()
    inside("h-a", "echo inherited > /var/lib/left")
    await runtime.stop("h-a", 10)
    other = replace(container("a", "r9", commit(a=nix("NINE"))), uid="b" * 12)
    await runtime.start(other)
    assert inside("h-a", "cat /var/lib/left").returncode != 0, "a re-used name inherited a file"
    await runtime.stop("h-a", 10)
    await runtime.destroy("h-a")
    assert await runtime.observe() == ()


async def as_the_loop_does(actions: Iterable[Coroutine[Any, Any, None]]) -> None:
    """All of them, four at a time."""
    slots = asyncio.Semaphore(4)

    async def one(action: Coroutine[Any, Any, None]) -> None:
        async with slots:
            await action

    await asyncio.gather(*map(one, actions))


async def many(runtime: NixosRuntime) -> None:
    at = commit(**{name: nix(name.upper()) for name in MANY})
    with timed("12 at once: build and start"):
        await as_the_loop_does(runtime.start(container(name, "r", at)) for name in MANY)
    observed = await runtime.observe()
    assert {o.phase for o in observed} == {Phase.RUNNING} and len(observed) == len(MANY)
    for name in MANY:
        own = inside(f"h-{name}", "cat /run/current-system/configuration.json").stdout
        assert f'"{name.upper()}":true' in own, f"{name} has another's system"
    with timed("observe 12"):
        await runtime.observe()
    await runtime.stop("h-x1", 10)
    await record()


async def record() -> None:
    """What systemd prints of a running, a stopped and a killed container."""
    unit = "container@h-x2.service"
    sh("systemctl", "kill", "--signal=KILL", "--kill-whom=main", unit)
    async with asyncio.timeout(10):
        while sh("systemctl", "show", "--property=ActiveState", "--value", unit) == "active":
            await asyncio.sleep(0.05)
    assert sh("machinectl", "show", "h-x2", "--property=Unit", "--value").strip() == unit
    shown = ("systemctl", "show", "--all", "--timestamp=unix", f"--property={','.join(PROPERTIES)}")
    names = (f"container@h-x{n}.service" for n in range(3))
    (OUT / "systemctl-show.txt").write_text(sh(*shown, *names) + "\n")
    machines = json.loads(sh("machinectl", "list", "--output=json"))
    ours = [machine for machine in machines if machine["machine"] in ("h-x0", "h-x1", "h-x2")]
    (OUT / "machinectl-list.json").write_text(json.dumps(ours, indent=2) + "\n")


async def before_reboot() -> None:
    runtime = open_runtime()
    for finding in await runtime.doctor():
        print(finding, flush=True)
    await a_life(runtime)
    await escapes.all_fail("h-a", LAYOUT.agent(container("a", "", None).uid) / "state")
    await faults(runtime)
    await many(runtime)


async def after_reboot() -> None:
    runtime = open_runtime()
    observed = await runtime.observe()
    assert len(observed) == len(MANY)
    assert {o.phase for o in observed} == {Phase.STOPPED}
    with timed("12 after a reboot: start"):
        await as_the_loop_does(runtime.start(container(name, "r", None)) for name in MANY)
    with timed("12: stop"):
        await as_the_loop_does(runtime.stop(f"h-{name}", 10) for name in MANY)
    await as_the_loop_does(runtime.destroy(f"h-{name}") for name in MANY)
    assert await runtime.observe() == ()
    assert list(Path("/var/lib/nixos-containers").iterdir()) == []


two_boots(lambda: asyncio.run(before_reboot()), lambda: asyncio.run(after_reboot()))
