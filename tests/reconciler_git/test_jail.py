"""The resident process that reads what is foreign: it outlives no one, and nothing in it does."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.git_work import Clone, Write
from support.proc import Process, descendants

from hive_reconciler.git import importing, jailer
from hive_reconciler.git.errors import Refused
from hive_reconciler.git.hive import Hive
from hive_reconciler.git.jailer import NOBODY, Jail
from hive_reconciler.model.proposal import Requester


@pytest.fixture
async def jail() -> AsyncIterator[Jail]:
    made = Jail()
    yield made
    await made.close()


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A file system below a mount that tells others of what happens to it."""
    outer, inner = tmp_path / "outer", tmp_path / "outer/inner"
    outer.mkdir()
    tmpfs = ("-t", "tmpfs", "-o", "size=64k", "tmpfs")
    subprocess.run(["mount", *tmpfs, outer], check=True)
    try:
        subprocess.run(["mount", "--make-shared", outer], check=True)
        inner.mkdir()
        subprocess.run(["mount", *tmpfs, inner], check=True)
        yield inner
    finally:
        subprocess.run(["umount", "-R", outer], check=True)


async def commands(word: str, pid: int | None = None) -> list[Process]:
    found = await asyncio.to_thread(descendants, os.getpid() if pid is None else pid)
    return [process for process in found if word in " ".join(process.command)]


async def resident() -> Process:
    (found,) = [p for p in await commands("git.jail") if p.parent == os.getpid()]
    return found


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.01)


async def busy() -> bool:
    return bool(await children())


async def idle() -> bool:
    return not await busy()


async def submitted(hive: Hive, manager: Requester, clone: Clone, text: str) -> str:
    oid = clone.change(f"agents/{manager.name}/prompt.md", text)
    done = await hive.submit_commit(manager, manager.name, oid, "x", clone.fetch(oid))
    return done.state


async def children() -> list[int]:
    """The jobs of the resident process; none while it starts."""
    everybody = await commands("git.jail")
    ours = {process.pid for process in everybody if process.parent == os.getpid()}
    return [process.pid for process in everybody if process.parent in ours]


async def one_waits() -> bool:
    return len(await children()) == 1


async def test_one_process_serves_many_and_leaves_one_child_that_waits(
    hive: Hive, manager: Requester, clone: Clone
) -> None:
    assert not await commands("git.jail")
    waiting = set()
    for text in ("One.\n", "Two.\n"):
        assert await submitted(hive, manager, clone, text) == "open"
        await until(one_waits)
        waiting |= set(await children())
    assert len(waiting) == 2, "a child takes one pack"
    assert await resident()


async def test_what_reads_a_pack_can_open_nothing(
    hive: Hive, manager: Requester, clone: Clone
) -> None:
    """No file, no socket, no process: the kernel holds a limit of none against it."""
    assert await submitted(hive, manager, clone, "One.\n") == "open"
    await until(one_waits)
    (pid,) = await children()

    async def confined() -> bool:
        text = await asyncio.to_thread(Path(f"/proc/{pid}/limits").read_text)
        limits = {line[:25].strip(): line[25:].split()[:2] for line in text.splitlines()}
        nothing = ("Max open files", "Max processes", "Max core file size")
        return all(limits[name] == ["0", "0"] for name in nothing)

    await until(confined)
    status = await asyncio.to_thread(Path(f"/proc/{pid}/status").read_text)
    assert "NoNewPrivs:\t1" in status
    if os.geteuid() == 0:
        assert f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}" in status
        assert "CapEff:\t0000000000000000" in status


async def test_a_child_that_died_waiting_costs_no_import(
    hive: Hive, manager: Requester, clone: Clone
) -> None:
    assert await submitted(hive, manager, clone, "One.\n") == "open"
    await until(one_waits)
    for pid in await children():
        os.kill(pid, signal.SIGKILL)
    await until(idle)
    assert await submitted(hive, manager, clone, "Two.\n") == "open"


@pytest.mark.skipif(os.geteuid() != 0, reason="without root it has the host's mounts")
async def test_a_child_that_waits_keeps_no_mount_of_the_host(
    hive: Hive, manager: Requester, clone: Clone, mounted: Path
) -> None:
    assert await submitted(hive, manager, clone, "One.\n") == "open"
    await until(one_waits)
    (pid,) = await children()

    async def kept() -> bool:
        mounts = await asyncio.to_thread(Path(f"/proc/{pid}/mountinfo").read_text)
        return str(mounted) in mounts

    assert await kept()
    await asyncio.to_thread(subprocess.run, ["umount", mounted], check=True)
    assert not await kept()


async def test_a_child_made_ready_under_other_limits_is_not_used(
    hive: Hive, manager: Requester, clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await submitted(hive, manager, clone, "One.\n") == "open"
    monkeypatch.setitem(jailer.LIMITS, "content", 100)
    with pytest.raises(Refused, match="brings too much"):
        await submitted(hive, manager, clone, "Two.\n" * 1000)


async def test_a_killed_jail_is_started_again(hive: Hive, manager: Requester, clone: Clone) -> None:
    assert await submitted(hive, manager, clone, "One.\n") == "open"
    process = os.pidfd_open((await resident()).pid)
    signal.pidfd_send_signal(process, signal.SIGKILL)
    await asyncio.to_thread(select.select, [process], [], [])  # and with it its sockets are gone
    os.close(process)
    assert await submitted(hive, manager, clone, "Two.\n") == "open"


async def test_a_jail_killed_in_an_import_refuses_it(
    hive: Hive, manager: Requester, clone: Clone
) -> None:
    async def fetch(have: tuple[str, ...], write: Write) -> str:
        await write(b"PACK")
        for process in await commands("git.jail"):
            os.kill(process.pid, signal.SIGKILL)
        return "a" * 40

    with pytest.raises(Refused, match="cannot be taken"):
        await hive.submit_commit(manager, manager.name, "a" * 40, "x", fetch)


async def test_a_job_ends_with_its_stream(jail: Jail) -> None:
    async with jail.job("take") as stream:
        stream.writer.write(b"PACK")
        await until(busy)
    await until(idle)


@pytest.mark.parametrize(("limit", "value"), [("memory", 2 << 20), ("content", 100), ("count", 3)])
async def test_limits_hold(
    hive: Hive,
    manager: Requester,
    clone: Clone,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: int,
) -> None:
    monkeypatch.setitem(jailer.LIMITS, limit, value)
    with pytest.raises(Refused, match="cannot be taken"):
        await submitted(hive, manager, clone, "One.\n" * 1000)


@pytest.mark.parametrize(("limit", "value"), [("MAX_CONTENT", 1000), ("MAX_OBJECTS", 3)])
async def test_what_comes_out_has_limits_of_its_own(
    hive: Hive,
    manager: Requester,
    clone: Clone,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: int,
) -> None:
    """Whatever became of the jail."""
    monkeypatch.setattr(importing, limit, value)
    with pytest.raises(Refused, match=r"cannot be taken|brings too much"):
        await submitted(hive, manager, clone, "One.\n" * 1000)
    monkeypatch.undo()
    assert await submitted(hive, manager, clone, "Two.\n") == "open"


async def test_bases_of_deltas_have_a_limit(
    hive: Hive, manager: Requester, clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "MAX_BASES", 10)
    with pytest.raises(Refused, match="deltas on more than"):
        await submitted(hive, manager, clone, clone.read("agents/hm1nd/prompt.md") + "More.\n")


@pytest.mark.parametrize(
    "answer",
    [b"", b".", b".1\n", b".-1\n", b".x\n", b"?\n", b".1\n12 3 - 999\nx", b".1\n12 3 - 1\nxx"],
)
async def test_an_answer_that_is_none_is_a_refusal(answer: bytes) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(answer)
    reader.feed_eof()
    with pytest.raises(Refused, match="cannot be taken"):
        assert await importing._taken(SimpleNamespace(reader=reader)) == ["nothing"]  # type: ignore[arg-type]


UNCONFINED = """
import sys
sys.path.append(sys.argv[1])
from hive_reconciler.git import jail
def refused(name, *arguments):
    raise OSError(f"{name} is not possible here")
jail._call = refused
jail.main()
"""


async def test_nothing_runs_where_it_cannot_be_confined(
    jail: Jail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jailer, "_START", UNCONFINED)
    async with jail.job("take") as stream:
        stream.writer.write(b"PACK")
        stream.writer.write_eof()
        with pytest.raises(Refused, match="is not possible here"):
            await importing._taken(stream)


async def test_a_repository_that_is_gone_gives_no_pack(jail: Jail, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    given = {"git": jailer.find_git(), "directory": missing, "objects": missing}
    async with jail.job("pack", **given) as stream:
        assert await stream.reader.read() == b""


async def test_the_jail_ends_with_hive(hive: Hive, manager: Requester, clone: Clone) -> None:
    assert await submitted(hive, manager, clone, "One.\n") == "open"
    await hive.close()
    assert not await commands("git.jail")
