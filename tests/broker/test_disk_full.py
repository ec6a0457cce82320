"""A full disk: nothing acknowledged is lost, turns end, and it goes on by itself."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.broker_rig import Rig, agent, rig, until

from hive_wire.rpc_errors import RpcError

A = "aaaaaaaaaaaa"
pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture(params=["tmpfs", "ext4"])
def small_disk(request) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="hf-"))
    image = path.with_suffix(".img")
    if request.param == "tmpfs":
        run("mount", "-t", "tmpfs", "-o", "size=8m", "hive-test", path)
    else:
        image.touch()
        os.truncate(image, 12 << 20)
        run("mkfs.ext4", "-q", "-m", "0", image)
        if subprocess.run(["losetup", "-f"], capture_output=True, check=False).returncode:
            path.rmdir()
            pytest.skip("this machine has no loop devices")
        run("mount", "-o", "loop", image, path)
    try:
        yield path
    finally:
        run("umount", "-l", path)
        path.rmdir()
        image.unlink(missing_ok=True)


def run(*command: object) -> None:
    subprocess.run([*map(str, command)], check=True)


async def conditions(hive: Rig) -> set[str]:
    return {c["type"] for c in (await hive.ask("status"))["conditions"]}


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


async def send_until_refused(hive: Rig, sent: list[dict]) -> None:
    """What is allocated already takes some more."""
    while True:
        found = await hive.ask("send", to="scout", body="x" * 60_000, by="ann")
        sent.append(found)


async def test_turns_end_while_it_is_full_and_it_goes_on_afterwards(small_disk):
    async with rig(small_disk / "root") as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        sent = [await hive.ask("send", to="scout", body=f"n{n}", by="ann") for n in range(3)]
        turn = (await scout.granted())["turn"]
        filler = small_disk / "filler"
        fill(filler)
        with pytest.raises(RpcError, match="disk"):
            await send_until_refused(hive, sent)
        assert await conditions(hive) == {"DiskFull"}
        assert not (hive.layout.broker / "ballast").exists()
        fill(small_disk / "more")  # all but the last byte, but what the ballast left
        (small_disk / "more").unlink()
        row = {"n": 1, "kind": "text", "data": {"text": "x"}, "at": 1.0}
        with pytest.raises(RpcError, match="full"):
            await scout.ask("stream", rows=[row])
        await scout.end(turn)
        assert scout.grants.empty()  # no new turn begins
        filler.unlink()

        async def over() -> bool:
            return not await conditions(hive)

        await until(over, "the condition ends")
        assert (hive.layout.broker / "ballast").exists()
        await scout.hello()  # the line was cut, so that the rows come again
        assert (await scout.ask("stream", rows=[row]))["acked"] == 1
        done = {int(turn.partition(".")[0])}
        while len(done) < len(sent):
            turn = (await scout.granted())["turn"]
            await scout.end(turn)
            done.add(int(turn.partition(".")[0]))
        assert done == {message["id"] for message in sent}
        await hive.kill()
        await hive.start()
        assert (await hive.ask("status"))["open"] == 0


async def test_it_starts_on_a_full_disk(small_disk):
    async with rig(small_disk / "root") as hive:
        await hive.registry(agent(A, "scout"))
        await hive.ask("send", to="scout", body="x", by="ann")
        await hive.kill()
        fill(small_disk / "filler")
        await hive.start()
        assert (await hive.ask("status"))["open"] == 1
        scout = await hive.harness(A)
        assert scout.welcome["name"] == "scout"


async def test_a_disk_without_room_for_a_start_is_told_in_one_line(small_disk):
    async with rig(small_disk / "root") as hive:
        await hive.registry(agent(A, "scout"))
        await hive.ask("send", to="scout", body="x", by="ann")
        await hive.kill()
        (hive.layout.broker / "ballast").unlink()
        fill(small_disk / "filler")
        command = (sys.executable, "-m", "hive_broker", "--root", str(small_disk / "root"))
        refused = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=30, check=False
        )
        assert refused.returncode == 1
        assert "nothing is lost" in refused.stderr
        assert refused.stderr.count("\n") == 1
        (small_disk / "filler").unlink()
        await hive.start()
        assert (await hive.ask("status"))["open"] == 1
