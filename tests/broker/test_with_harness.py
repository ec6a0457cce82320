"""The real harness with its rehearsing engine on the real broker."""

from __future__ import annotations

import asyncio

import pytest
from support.broker_rig import agent, rig, until
from support.claude_cli import NoCli, claude_cli
from support.fake_messages_api import Call, FakeApi, Step
from support.harness_process import HarnessProcess
from support.needs import lacking

pytestmark = pytest.mark.slow

A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


@pytest.fixture
def cli():
    try:
        return claude_cli()
    except NoCli as error:
        lacking(str(error))


def harness(hive, root, uid: str, name: str) -> HarnessProcess:
    found = HarnessProcess(root / name)
    found.run = hive.layout.agent_run(uid)
    found.agent(uid=uid, name=name)
    return found


async def answered(hive, count: int) -> list[dict]:
    found = (await hive.ask("inbox", limit=50))["messages"]
    return found if len(found) >= count else []


@pytest.mark.parametrize("dies", ["nobody", "broker", "harness"])
async def test_a_rehearsed_turn(tmp_path, dies):
    async with rig(tmp_path / "root") as hive:
        await hive.registry(agent(A, "scout"), agent(B, "cook"))
        scout = harness(hive, tmp_path, A, "scout")
        await scout.start()
        try:
            sent = [await hive.ask("send", to="scout", body=f"n{n}", by="ann") for n in range(3)]
            if dies == "broker":
                await until(lambda: answered(hive, 1), "the first answer")
                await hive.kill()
                await hive.start()
            elif dies == "harness":
                await until(lambda: answered(hive, 1), "the first answer")
                await scout.kill()
                await scout.start()
            answers = await until(lambda: answered(hive, 3), "three answers")
            assert [a["in_reply_to"] for a in answers] == [s["id"] for s in sent]
            await until(lambda: _settled(hive), "all is settled")
            ended = (await hive.ask("events", kinds=["turn.ended"], after=0))["events"]
            done = [e["turn"].partition(".")[0] for e in ended if e["data"]["outcome"] == "ok"]
            assert done == [str(s["id"]) for s in sent]
            kinds = {e["kind"] for e in (await hive.ask("events", after=0, limit=500))["events"]}
            assert {"text", "tool_use", "tool_result", "turn.started", "tool", "ready"} <= kinds
        finally:
            await scout.stop()


async def _settled(hive) -> bool:
    return (await hive.ask("status"))["open"] == 0


@pytest.mark.cli
@pytest.mark.timeout(120)
async def test_a_permission_from_the_engine_to_a_person_and_back(tmp_path, cli):
    """The real CLI, harness and broker; the person answers by the hive command's choice."""
    async with rig(tmp_path / "root") as hive, FakeApi() as api:
        await hive.registry(agent(A, "scout", engine="claude"))
        scout = HarnessProcess(tmp_path / "scout", engine_path=cli)
        scout.run = hive.layout.agent_run(A)
        scout.agent(uid=A, name="scout", engine="claude", ask=["Bash"])
        await api.serve_unix(scout.run / "model" / "model.sock")
        api.script(Step(calls=(Call("Bash", {"command": "touch done.txt"}),)))
        await scout.start()
        try:
            await hive.ask("send", to="scout", body="x", by="ann")

            async def asked():
                return (await hive.ask("questions"))["questions"]

            [question] = await until(asked, "a question")
            assert question["permission"]["rule"] == "Bash(touch done.txt)"
            assert (await hive.status(A))["state"] == "waiting"
            await hive.ask("answer", id=question["id"], by="ann", choices=["once"])
            await until(lambda: _settled(hive), "the turn ends")
            assert (scout.state / "done.txt").exists()
            await until(lambda: _state(hive, "idle"), "it is idle")
        finally:
            await scout.stop()


async def _state(hive, state: str) -> bool:
    return (await hive.status(A))["state"] == state


@pytest.mark.cli
@pytest.mark.timeout(120)
async def test_a_pause_of_all_stops_the_notes_too(tmp_path, cli):
    """FR33ZE comes while a turn runs, after which notes would be taken."""
    held = asyncio.Event()
    async with rig(tmp_path / "root") as hive, FakeApi() as api:
        await hive.registry(agent(A, "scout", engine="claude"))
        scout = HarnessProcess(tmp_path / "scout", "--notes-after", "0.2", engine_path=cli)
        scout.run = hive.layout.agent_run(A)
        scout.agent(uid=A, name="scout", engine="claude", when_cold="notes")
        await api.serve_unix(scout.run / "model" / "model.sock")
        large = {"input_tokens": 60_000}
        api.script(Step(text="one", gate=held, usage=large), Step(text="two", usage=large))
        await scout.start()
        try:
            await hive.ask("send", to="scout", body="x", by="ann")
            await api.request(1)
            await hive.ask("pause", uid=None, by="ann", reason="wait")
            held.set()
            await until(lambda: "no turn may begin now either" in scout.log, "it may not")
            assert (len(api.requests), (await hive.status(A))["state"]) == (1, "paused")
            await hive.ask("unpause", uid=None, by="ann", reason="")
            await hive.ask("send", to="scout", body="y", by="ann")
            assert "Your conversation is shortened now" in (await api.request(3)).last
        finally:
            await scout.stop()
