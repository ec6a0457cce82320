"""Power cuts for hive.git: a short life of a root, and what is left of it after each cut.

Run as a script with a ROOT, under `power_trace.c`: makes it, submits, approves, denies and
records, and packs it twice meanwhile; every word on standard output, a socket, is said once it is
done.
"""

from __future__ import annotations

import asyncio
import os
import random
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from support.power_records import Op, records
from support.power_tree import WAYS, Disk, boundaries
from support.preload import build

from hive_reconciler.git import housekeeping
from hive_reconciler.git.decide import Decisions
from hive_reconciler.git.errors import HiveError
from hive_reconciler.git.first import FirstCommit
from hive_reconciler.git.repositories import Repositories, open_repositories
from hive_reconciler.git.submit import NewAgent, Submissions
from hive_reconciler.git.verify import verify
from hive_reconciler.git.views import Views
from hive_reconciler.model.proposal import Proposal, Requester
from hive_reconciler.model.swarm import HostAbilities
from hive_wire.paths import Layout

USER = Requester.user("ada")


def opened(root: Path) -> Repositories:
    return open_repositories(Layout.of(root), FirstCommit(), HostAbilities())


class Life:
    """What people do, one thing after the other."""

    def __init__(self, root: Path) -> None:
        self._all = opened(root)
        self._decisions = Decisions(self._all)
        self._submissions = Submissions(self._all, self._decisions)
        self._views = Views(self._all, self._decisions)

    def states(self) -> dict[int, Proposal]:
        return {proposal.n: proposal for proposal in self._views.newest(None, 100)}

    def submit(self, name: str) -> int:
        return self._submissions.spawn(USER, NewAgent(name, "x", None, None, {})).n

    def approve(self, n: int) -> str:
        effect = self._views.one(n).effect
        assert effect is not None
        return self._decisions.approve(n, effect.digest, "root")

    def deny(self, n: int) -> None:
        self._decisions.end(n, "denied", "no", "root")

    def stop(self, name: str) -> int:
        return self._submissions.power(USER, name, "stop", "", "").n

    def deployed(self, n: int) -> None:
        self._all.ledger.set_deployed(n, "it runs")

    def agents(self) -> set[str]:
        return set(self._views.read(None).agents)


def live(root: Path) -> None:
    def say(*words: object) -> None:
        os.write(1, " ".join(map(str, words)).encode() + b"\n")

    root.mkdir()  # as `hive up` does for its lock
    life = Life(root)
    say("made")
    for number in range(2):
        life.agents()
        n = life.submit(f"agent{number}")
        say("open", n)
        life.approve(n)
        say("merged", n)
        life.deployed(n)
        denied = life.submit(f"other{number}")
        say("open", denied)
        life.deny(denied)
        say("denied", denied)
        say("packing")
        asyncio.run(pack(root, shutil.which("git") or "git"))
        say("packed")
    say("merged", life.stop("agent0"))
    say("open", life.submit("last"))


async def pack(root: Path, git: str) -> None:
    """As the reconciler does when there is much; git is traced, too."""
    traced = ("LD_PRELOAD", "TRACE_DIR", "TRACE_OUT")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "git"
        names = " ".join(f"{name}={shlex.quote(os.environ[name])}" for name in traced)
        program.write_text(f'#!/bin/sh\nexport {names}\nexec {shlex.quote(git)} "$@"\n')
        program.chmod(0o755)
        path = f"{folder}:{os.environ['PATH']}"
        with (
            mock.patch.dict(os.environ, {"PATH": path}),
            mock.patch.object(housekeeping, "LOOSE", 1),
            mock.patch.object(housekeeping, "KEEP", 0.0),
        ):
            await housekeeping.collect(Layout.of(root).hive_git)


def traced_life(folder: Path) -> list[Op]:
    """All that a life wrote, synced and said."""
    library, above, out = build("power_trace.c", folder), folder / "above", folder / "trace"
    above.mkdir()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        subprocess.run(
            [sys.executable, "-W", "error", __file__, str(above / "root")],
            check=True,
            stdout=theirs.fileno(),
            env={
                **os.environ,
                "PYTHONPATH": ":".join(sys.path),
                "LD_PRELOAD": str(library),
                "TRACE_DIR": f"{above}/",
                "TRACE_OUT": str(out),
            },
        )
    return list(records(out))


@dataclass
class Promised:
    """What had been said by then: whether all was made, and the states of proposals."""

    made: bool = False
    states: dict[int, str] = field(default_factory=dict)

    def hear(self, words: bytes) -> None:
        state, *number = words.decode().split()
        self.made = True
        if number:
            self.states[int(number[0])] = state


@dataclass(frozen=True)
class Replayed:
    """`wrong` says of each cut that broke a promise which and how."""

    boundaries: int
    cuts: int
    promised: dict[int, str]
    wrong: list[str]


def packing(ops: Sequence[Op]) -> list[int]:
    """The syncs of housekeeping."""
    said = {number: op.data for number, op in enumerate(ops) if op.kind == "A"}
    edges = [number for number, words in said.items() if words in (b"packing\n", b"packed\n")]
    times = list(zip(edges[::2], edges[1::2], strict=True))
    return [n for n in boundaries(ops) if any(first < n < last for first, last in times)]


def replay(
    ops: Sequence[Op],
    most: int | None = None,
    seed: int = 1,
    among: Callable[[Sequence[Op]], list[int]] = boundaries,
) -> Replayed:
    """Cut the power right before and right after syncs: all of them, or so many."""
    dice = random.Random(seed)
    places = among(ops)
    chosen = set(places if most is None else dice.sample(places, min(most, len(places))))
    disk, promised, cuts, wrong = Disk(), Promised(), 0, list[str]()
    with tempfile.TemporaryDirectory(prefix="hive-cut-", dir="/dev/shm") as scratch:

        def cut(where: str) -> int:
            for way in WAYS:
                above = Path(scratch) / "above"
                disk.put(above, way, dice)
                problem = look(above / "root", promised)
                shutil.rmtree(above)
                if problem:
                    wrong.append(f"{where}, {way}: {problem}")
            return len(WAYS)

        for number, op in enumerate(ops):
            if number in chosen:
                cuts += cut(f"before sync {number} of {op.file or 'the folder above'}")
            if op.kind == "A":
                promised.hear(op.data)
            else:
                disk.apply(op)
            if number in chosen:
                cuts += cut(f"after sync {number} of {op.file or 'the folder above'}")
    return Replayed(len(chosen), cuts, promised.states, wrong)


def look(root: Path, promised: Promised) -> str:
    """What is wrong with what the power cut left; "" when nothing is."""
    made = (root / "hive.git").exists()
    if promised.made and not made:
        return "hive.git is gone"
    if made and (wrong := _damage(root / "hive.git")):
        return wrong
    try:
        return _gone_on_with(root, promised)
    except HiveError as error:
        return f"cannot be gone on with: {error.message}"
    except Exception as error:  # noqa: BLE001 - whatever keeps it from going on
        return f"cannot be gone on with: {error!r}"


def _damage(repository: Path) -> str:
    command = ["git", f"--git-dir={repository}", "fsck", "--strict", "--no-dangling"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    said = found.stdout + found.stderr
    return f"git fsck: {said.strip()[:300]}" if found.returncode or "error" in said else ""


def _gone_on_with(root: Path, promised: Promised) -> str:
    life = Life(root)
    states = {n: proposal.state for n, proposal in life.states().items()}
    for n, state in promised.states.items():
        later = {"open": ("open", "merged", "denied")}.get(state, (state,))
        if states.get(n) not in later:
            return f"proposal {n} was {state} and is {states.get(n)}"
    life.agents()
    for n in (n for n, state in states.items() if state == "open"):
        life.approve(n)
    n = life.submit("new")
    life.approve(n)
    if "new" not in life.agents() or life.states()[n].state != "merged":
        return "a merge has no effect"
    found = verify(Layout.of(root))
    return "" if found.ok else f"hive verify: {found.findings}"


if __name__ == "__main__":
    live(Path(sys.argv[1]))
