"""Proposals beside plain git: submit to open card, approve to merge commit, listing the past.

.venv/bin/python bench/proposals.py [--sizes 10,100,1000,10000] [--repetitions 7]
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from subprocess import PIPE
from unittest import mock

from measure import Aim, Spread, report, shuffled, table

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.git_work import git
from support.many_agents import populate

from hive_reconciler.git.hive import Hive
from hive_reconciler.git.jail import PACKING
from hive_reconciler.git.listing import Entry
from hive_reconciler.git.store import Store, open_bare
from hive_reconciler.git.trees import Trees
from hive_reconciler.model.proposal import Closed, Pinned, Requester, standing
from hive_reconciler.model.tree import FILE
from hive_wire.paths import Layout

ADA = Requester.user("ada")
PAST = 1000
SETTLED = 0.3  # seconds, for the jail's next child to start: it is to hold up nobody's stage
LISTED = "after one more was denied"
SUBMIT, APPROVE, GIT = STAGES = ("submit → card", "approve → merge", "git merge-tree + commit-tree")
# Where a proposal begins: at what is applied, so that there is nothing to merge; or one merge before.
BASES = ("on applied", "one merge behind")


class Author:
    """Commits beside hive.git, without a work tree. In memory: what an agent writes to its own
    clone is not to be waited for when a proposal is put on disk."""

    def __init__(self, hive_git: Path, path: Path) -> None:
        git(path.parent, "clone", "-q", "--bare", "--shared", str(hive_git), str(path))
        self.path = path
        self._store = Store(open_bare(path), path / "lock")
        self._trees = Trees(self._store.repo)
        self._count = 0

    def commit(self, tip: str, agent: str) -> tuple[str, bytes]:
        """A change of an agent's prompt, and its pack."""
        self._count += 1
        trees, store = self._trees, self._store
        with trees.scratch():
            blob = trees.write_blob(f"Prompt {self._count}.\n".encode())
            tree = trees.put(store.tree_of(tip), f"agents/{agent}/prompt.md", Entry(FILE, blob))
            oid = trees.write_commit(store.commit_text("change\n", tree, (tip,)))
            store.land(trees.unwritten(oid))
        command = ["git", "-C", str(self.path), "pack-objects", *PACKING]
        revisions = f"{oid}\n^{tip}\n".encode()
        return oid, subprocess.run(command, input=revisions, stdout=PIPE, check=True).stdout


class Stages:
    """The stages of two proposals that begin at the same commit, one after the other, and plain
    git's way to each merge: in a repository beside hive.git, so that nobody finds what the other
    has written."""

    def __init__(self, hive: Hive, author: Author, plain: Path) -> None:
        self._hive, self._author, self._plain = hive, author, plain
        self.times = {base: {stage: list[float]() for stage in STAGES} for base in BASES}

    async def __call__(self) -> None:
        tip = await self._hive.tip()
        for base, agent in zip(BASES, ("a0", "a1"), strict=True):
            times = await self._one(tip, agent)
            for stage, seconds in zip(STAGES, times, strict=True):
                self.times[base][stage].append(seconds)

    async def _one(self, base: str, agent: str) -> tuple[float, float, float]:
        hive = self._hive
        oid, pack = await asyncio.to_thread(self._author.commit, base, agent)
        await asyncio.sleep(SETTLED)

        async def fetch(_have: object, write: Callable[[bytes], Awaitable[None]]) -> str:
            await write(pack)
            return oid

        began = time.perf_counter()
        done = await hive.submit_commit(ADA, agent, oid, "a bench", fetch)
        shown = await hive.proposal(done.n)
        await hive.diff(done.n)
        seen = time.perf_counter()
        await asyncio.sleep(SETTLED)
        tip = await hive.tip()
        alone = time.perf_counter()
        await asyncio.to_thread(self._merge, tip, oid)
        merged = time.perf_counter()
        await asyncio.sleep(SETTLED)
        assert shown.effect is not None
        asked = time.perf_counter()
        await hive.approve(done.n, shown.effect.digest, "ada")
        approved = time.perf_counter()
        await asyncio.sleep(SETTLED)
        return seen - began, approved - asked, merged - alone

    def _merge(self, tip: str, commit: str) -> None:
        tree = git(self._plain, "merge-tree", "--write-tree", tip, commit)
        git(self._plain, "commit-tree", tree, "-p", tip, "-p", commit, "-m", "merge")


async def at_size(agents: int, repetitions: int) -> dict[str, dict[str, Spread]]:
    with (
        tempfile.TemporaryDirectory(prefix="hive-bench-") as folder,
        tempfile.TemporaryDirectory(dir="/dev/shm") as memory,
    ):
        layout = Layout.of(Path(folder) / "root")
        hive = await Hive.open(layout, runtime_reads_nix=False)
        await hive.accept(await hive._thread.run(populate, hive, agents), "bench", "the bench's")
        await hive.read()
        plain = Path(folder) / "plain"
        git(plain.parent, "clone", "-q", "--bare", "--shared", str(layout.hive_git), str(plain))
        stages = Stages(hive, Author(layout.hive_git, Path(memory) / "author"), plain)
        for _ in range(repetitions + 1):
            await stages()
        await hive.close()
    return {
        base: {stage: Spread.of(seconds[1:]) for stage, seconds in times.items()}
        for base, times in stages.times.items()
    }


def decide_many(hive: Hive) -> None:
    """PAST denied proposals. In the git thread."""
    tip, ledger = hive._all.history.tip(), hive._all.ledger
    for n in range(1, PAST + 1):
        pinned = Pinned(n, tip, tip, tip, "apply", "a0", ADA, f"past {n}", 1e9 + n)
        ledger.pin(n, hive._all.trees.write_tag(ledger.record(pinned)), ())
        ledger.close(standing(pinned, {}, {}), Closed("denied", "no need", "ada", 1e9 + n))
    git(Path(hive._all.store.repo.path), "repack", "-adq")
    git(Path(hive._all.store.repo.path), "pack-refs", "--all")


async def listing(repetitions: int) -> dict[str, Spread]:
    with tempfile.TemporaryDirectory(prefix="hive-bench-") as folder:
        layout = Layout.of(Path(folder) / "root")
        hive = await Hive.open(layout, runtime_reads_nix=False)
        with mock.patch("os.fsync"):
            await hive._thread.run(decide_many, hive)

        async def listed(hive: Hive) -> float:
            began = time.perf_counter()
            assert len(await hive.proposals("closed", PAST)) == PAST
            return time.perf_counter() - began

        async def changed() -> float:
            done = await hive.submit_spawn(ADA, "b", "x")
            await hive.deny(done.n, "no need", "ada")
            return await listed(hive)

        async def first() -> float:
            other = await Hive.open(layout, runtime_reads_nix=False)
            try:
                return await listed(other)
            finally:
                await other.close()

        async def plain() -> float:
            began = time.perf_counter()
            arguments = ("--format=%(refname) %(contents)", "refs/tags")
            await asyncio.to_thread(git, layout.hive_git, "for-each-ref", *arguments)
            return time.perf_counter() - began

        variants = {LISTED: changed, "first after a start": first, "git for-each-ref": plain}
        times = await shuffled(variants, repetitions)
        await hive.close()
    return {name: Spread.of(seconds) for name, seconds in times.items()}


def aims_of(base: str, found: Mapping[int, Mapping[str, Spread]]) -> list[Aim]:
    """At 1,000 agents twice git's time at the most; to the largest swarm no more growth."""
    *_, largest = found
    middle = 1000 if 1000 in found else largest
    peer = found[middle][GIT].median
    aims = [
        Aim(f"{stage} at {middle} agents, {base}", found[middle][stage].median / peer, 2.0, "× git")
        for stage in (SUBMIT, APPROVE)
    ]
    if largest == middle:
        return aims
    grown = {s: found[largest][s].median / found[middle][s].median for s in STAGES}
    where = f"from {middle} to {largest} agents, {base}"
    return aims + [
        Aim(f"{s}, growth {where}", grown[s], grown[GIT], "×") for s in (SUBMIT, APPROVE)
    ]


async def main(sizes: list[int], repetitions: int) -> None:
    found = {size: await at_size(size, repetitions) for size in sizes}
    listed = await listing(repetitions)
    rows = [
        (size, base, stage, s.median, s.low, s.high, s.median / spreads[GIT].median)
        for size, bases in found.items()
        for base, spreads in bases.items()
        for stage, s in spreads.items()
    ]
    past = [(name, s.median, s.low, s.high) for name, s in listed.items()]
    aims = [
        aim for base in BASES for aim in aims_of(base, {n: found[n][base] for n in sorted(found)})
    ]
    ratio = listed[LISTED].median / listed["git for-each-ref"].median
    aims.append(Aim(f"listing {PAST} past proposals", ratio, 2.0, "× git for-each-ref"))
    tables = [
        table(("agents", "proposal", "what", "ms", "low", "high", "× git"), rows),
        table((f"{PAST} past proposals", "ms", "low", "high"), past),
    ]
    data = {
        "stages": {
            size: {base: {k: vars(s) for k, s in v.items()} for base, v in bases.items()}
            for size, bases in found.items()
        },
        "listing": {name: vars(s) for name, s in listed.items()},
    }
    report("proposals", tables, aims, data)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10,100,1000,10000")
    parser.add_argument("--repetitions", type=int, default=7)
    options = parser.parse_args()
    asyncio.run(main([int(size) for size in options.sizes.split(",")], options.repetitions))
