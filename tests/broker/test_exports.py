"""Packs pass through the broker in order, bounded, and leave nothing behind."""

from __future__ import annotations

import asyncio
import base64
import os
import random

import pytest
from support.broker_rig import agent, rig

from hive_broker.service.exports import MOST_WAITING, Relay
from hive_wire.jsonrpc import Peer
from hive_wire.rpc_errors import RpcError

pytestmark = pytest.mark.slow

M = "mmmmmmmmmmmm"
COMMIT = "abcdef1"


class Sink:
    """A client of broker.sock that keeps the chunks of its export."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.peer = None

    async def export(self, hive, stream: str = "s", commit: str = COMMIT) -> dict:
        if self.peer is None:
            self.peer = await hive.client({"chunk": self._chunk})
        params = {"uid": M, "commit": commit, "have": ["0" * 40], "stream": stream}
        return await self.peer.request("export", params, timeout=60)

    def _chunk(self, _, params: dict) -> None:
        self.data += base64.b64decode(params["data"])


def packing(data: bytes, size: int = 500_000):
    """How a harness answers an export: chunks, then how much it was."""

    async def answer(peer, params: dict) -> dict:
        for start in range(0, len(data), size):
            chunk = base64.b64encode(data[start : start + size]).decode()
            await peer.drained()
            peer.notify("chunk", {"stream": params["stream"], "data": chunk})
        return {"oid": "a" * 40, "bytes": len(data)}

    return answer


async def test_a_pack_arrives_whole(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(M, "hm1nd", role="manager"))
        with pytest.raises(RpcError, match="offline"):
            await Sink().export(hive)
        boss = await hive.harness(M)
        data = random.randbytes(9_000_000)
        boss.answers["export"] = packing(data)
        one, two = Sink(), Sink()
        answers = await asyncio.gather(one.export(hive), two.export(hive))
        assert answers == [{"oid": "a" * 40, "bytes": len(data)}] * 2
        assert one.data == two.data == data
        _, asked = boss.asked.get_nowait()
        assert (asked["commit"], asked["have"]) == (COMMIT, ["0" * 40])


async def test_what_comes_after_too_much_is_kept_nowhere():
    """An asker that reads nothing: only what was taken before the limit waits for it."""
    asker, chunk = Peer({}), "x" * 700_000
    asker.pause_writing()
    relay = Relay(asker, "s")
    sent = [asyncio.create_task(relay.chunk(chunk)) for _ in range(200)]
    await asyncio.sleep(0)
    waiting = sum(not one.done() for one in sent)
    assert waiting * len(chunk) <= MOST_WAITING + len(chunk)
    asker.resume_writing()
    async with asyncio.timeout(10):
        await asyncio.gather(*sent, relay.finished())
    assert relay.problem == "the pack came faster than it was read"


async def test_errors_of_the_harness_reach_the_asker(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(M, "hm1nd", role="manager"))
        boss = await hive.harness(M)

        def refuse(*_: object) -> None:
            raise RpcError(2, "there is no commit abcdef1 in the clone")

        boss.answers["export"] = refuse
        with pytest.raises(RpcError, match="no commit abcdef1"):
            await Sink().export(hive)
        with pytest.raises(RpcError, match="commit"):
            await Sink().export(hive, commit="--upload-pack=x")


async def test_a_pack_without_end_is_cut_off(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(M, "hm1nd", role="manager"))
        boss = await hive.harness(M)
        boss.answers["export"] = packing(os.urandom(1_000_000) * 70)
        sink = Sink()
        with pytest.raises(RpcError, match="64 MiB"):
            await sink.export(hive)
        assert len(sink.data) <= 64 << 20
        boss.peer.notify("chunk", {"stream": "nobody's", "data": "AAAA"})
        boss.answers["export"] = packing(b"small")
        assert (await sink.export(hive))["bytes"] == 5


async def test_a_harness_that_dies_in_between_is_an_error(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(M, "hm1nd", role="manager"))
        boss = await hive.harness(M)

        async def die(peer, params: dict) -> None:
            peer.close()

        boss.answers["export"] = die
        with pytest.raises(RpcError, match="closed"):
            await Sink().export(hive)
