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
from collections.abc import Awaitable, Callable
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
STAGES = ("submit → card", "approve → merge", "git merge-tree + commit-tree")


class Author:
    """Commits beside hive.git, without a work tree. In memory: what an agent writes to its own
    clone is not to be waited for when a proposal is put on disk."""

    def __init__(self, hive_git: Path, path: Path) -> None:
        git(path.parent, "clone", "-q", "--bare", "--shared", str(hive_git), str(path))
        self.path = path
        self._store = Store(open_bare(path), path / "lock")
        self._trees = Trees(self._store.repo)
        self._count = 0

    def commit(self, tip: str) -> tuple[str, bytes]:
        """A change of one agent's prompt, and its pack."""
        self._count += 1
        trees, store = self._trees, self._store
        with trees.scratch():
            blob = trees.write_blob(f"Prompt {self._count}.\n".encode())
            tree = trees.put(store.tree_of(tip), "agents/a0/prompt.md", Entry(FILE, blob))
            oid = trees.write_commit(store.commit_text("change\n", tree, (tip,)))
            store.land(trees.unwritten(oid))
        command = ["git", "-C", str(self.path), "pack-objects", *PACKING]
        revisions = f"{oid}\n^{tip}\n".encode()
        return oid, subprocess.run(command, input=revisions, stdout=PIPE, check=True).stdout


class Stages:
    """The stages of one proposal after the other; the last is plain git's for the same merge."""

    def __init__(self, hive: Hive, layout: Layout, author: Author) -> None:
        self._hive, self._layout, self._author = hive, layout, author
        self.times: dict[str, list[float]] = {stage: [] for stage in STAGES}

    async def __call__(self) -> float:
        hive = self._hive
        tip = await hive.tip()
        oid, pack = await asyncio.to_thread(self._author.commit, tip)
        await asyncio.sleep(SETTLED)

        async def fetch(_have: object, write: Callable[[bytes], Awaitable[None]]) -> str:
            await write(pack)
            return oid

        began = time.perf_counter()
        done = await hive.submit_commit(ADA, "a0", oid, "a bench", fetch)
        shown = await hive.proposal(done.n)
        await hive.diff(done.n)
        seen = time.perf_counter()
        await asyncio.sleep(SETTLED)
        alone = time.perf_counter()
        await asyncio.to_thread(self._plain, tip, oid)
        plain = time.perf_counter()
        assert shown.effect is not None
        await hive.approve(done.n, shown.effect.digest, "ada")
        merged = time.perf_counter()
        await asyncio.sleep(SETTLED)
        found = (seen - began, merged - plain, plain - alone)
        for stage, seconds in zip(STAGES, found, strict=True):
            self.times[stage].append(seconds)
        return sum(found)

    def _plain(self, tip: str, commit: str) -> None:
        where = self._layout.hive_git
        tree = git(where, "merge-tree", "--write-tree", tip, commit)
        git(where, "commit-tree", tree, "-p", tip, "-p", commit, "-m", "merge")


async def at_size(agents: int, repetitions: int) -> dict[str, Spread]:
    with (
        tempfile.TemporaryDirectory(prefix="hive-bench-") as folder,
        tempfile.TemporaryDirectory(dir="/dev/shm") as memory,
    ):
        layout = Layout.of(Path(folder) / "root")
        hive = await Hive.open(layout, runtime_reads_nix=False)
        await hive.accept(await hive._thread.run(populate, hive, agents), "bench", "the bench's")
        await hive.read()
        stages = Stages(hive, layout, Author(layout.hive_git, Path(memory) / "author"))
        for _ in range(repetitions + 1):
            await stages()
        await hive.close()
    return {stage: Spread.of(times[1:]) for stage, times in stages.times.items()}


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


async def main(sizes: list[int], repetitions: int) -> None:
    found = {size: await at_size(size, repetitions) for size in sizes}
    listed = await listing(repetitions)
    rows = [
        (size, stage, s.median, s.low, s.high, s.median / spreads[STAGES[2]].median)
        for size, spreads in found.items()
        for stage, s in spreads.items()
    ]
    past = [(name, s.median, s.low, s.high) for name, s in listed.items()]
    base = 1000 if 1000 in found else sizes[-1]
    peer = found[base][STAGES[2]].median
    aims = [
        Aim(f"{stage} at {base} agents", found[base][stage].median / peer, 2.0, "× plain git")
        for stage in STAGES[:2]
    ]
    ratio = listed[LISTED].median / listed["git for-each-ref"].median
    aims.append(Aim(f"listing {PAST} past proposals", ratio, 2.0, "× git for-each-ref"))
    tables = [
        table(("agents", "what", "ms", "low", "high", "× git"), rows),
        table((f"{PAST} past proposals", "ms", "low", "high"), past),
    ]
    data = {
        "stages": {n: {k: vars(s) for k, s in v.items()} for n, v in found.items()},
        "listing": {name: vars(s) for name, s in listed.items()},
    }
    report("proposals", tables, aims, data)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10,100,1000,10000")
    parser.add_argument("--repetitions", type=int, default=7)
    options = parser.parse_args()
    asyncio.run(main([int(size) for size in options.sizes.split(",")], options.repetitions))
