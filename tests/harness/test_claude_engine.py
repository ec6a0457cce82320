"""The harness on the real claude CLI, against a scripted Messages API on a unix socket."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.broker_rig import until
from support.claude_harness import both_versions, claude_rig
from support.fake_broker import FakeBroker
from support.fake_messages_api import Call, FakeApi, Step
from support.forgetful_cli import forget_results, forgetful_cli
from support.harness_process import HarnessProcess
from support.slow_cli import slow_cli

from hive_wire.protocol import Running

pytestmark = [pytest.mark.cli, pytest.mark.timeout(120)]


@pytest.fixture
async def harness(tmp_path: Path, cli: Path) -> AsyncIterator[HarnessProcess]:
    process = HarnessProcess(tmp_path, engine_path=cli)
    process.agent(engine="claude", model="claude-sonnet-5", prompt="You are the tester.")
    yield process
    if process.process is not None:
        await process.kill()


@pytest.fixture
async def api(harness: HarnessProcess) -> AsyncIterator[FakeApi]:
    async with FakeApi() as fake:
        await fake.serve_unix(harness.run / "model" / "model.sock")
        yield fake


@pytest.fixture
async def broker(harness: HarnessProcess) -> AsyncIterator[FakeBroker]:
    async with FakeBroker(harness.run) as fake:
        fake.regrant = False
        yield fake


SEND = Step(text="I answer", calls=(Call("mcp__hive__send", {"to": "operator", "body": "hi"}),))


@both_versions
async def test_a_turn_with_a_hive_tool_call(
    harness: HarnessProcess, broker: FakeBroker, api: FakeApi
) -> None:
    api.script(SEND, Step(text="all done", usage={"output_tokens": 40}))
    async with harness:
        broker.post("say hi")
        end = await broker.ended()
        assert (end.outcome, end.cause) == ("ok", "")
        assert broker.calls == [("1.1:1", "send", {"to": "operator", "body": "hi"})]
        assert broker.texts() == ["I answer", "all done"]
        assert end.usage.output_tokens == 45
        assert end.cost_usd > 0
        first = api.requests[0]
        assert "mcp__hive__send" in first.tools
        assert not {"WebFetch", "WebSearch", "Task", "Agent"} & set(first.tools)
        assert "You are the tester." in first.system
        assert "[hive] message 1 · from operator · kind text · thread 1" in first.last
        assert "| say hi" in first.last
        assert first.body["model"] == "claude-sonnet-5"


async def test_the_next_turn_and_the_next_boot_continue_the_session(
    harness: HarnessProcess, broker: FakeBroker, api: FakeApi
) -> None:
    async with harness:
        broker.post("the word is xyzzy")
        first = await broker.ended()
    async with harness:
        broker.post("what was it?")
        second = await broker.ended(2)
    assert first.session == second.session
    assert "xyzzy" in api.requests[-1].everything


@both_versions
async def test_the_engine_is_killed_in_mid_turn_and_the_turn_ends_once(
    harness: HarnessProcess, broker: FakeBroker, api: FakeApi
) -> None:
    kill = "[ -e crashed ] || { touch crashed; kill -9 $PPID; }; echo survived"
    api.script(SEND, Step(calls=(Call("Bash", {"command": kill}),)))
    async with harness:
        broker.post("x")
        end = await broker.ended(timeout=60)
        assert (end.turn, end.outcome) == ("1.1", "ok")
        assert len(broker.calls) == 1
        assert "say hi" not in api.requests[-1].last


@both_versions
async def test_kill_9_of_the_harness_in_mid_turn_resumes_exactly_once(
    harness: HarnessProcess, broker: FakeBroker, api: FakeApi
) -> None:
    held = asyncio.Event()
    api.script(SEND, Step(text="never seen", gate=held))
    await harness.start()
    broker.post("x")
    await api.request(2)
    await harness.kill()
    held.set()
    async with harness:
        end = await broker.ended(timeout=60)
        assert (end.turn, end.outcome) == ("1.1", "ok")
        assert len(broker.calls) == 1
        assert broker.granted == ["1.1"]
        # Cut after the tool's result: the resumed turn asks the model once more.
        assert len(api.requests) == 3
        assert '"message 1' not in json.dumps(api.requests[2].last)
        assert api.requests[2].everything.count("[hive] message 1 ") == 1


@both_versions
async def test_a_result_that_was_not_on_disk_when_the_harness_was_killed_was_never_had(
    harness: HarnessProcess, broker: FakeBroker, api: FakeApi
) -> None:
    """The engine had asked the model with it already."""
    wait = "echo $PPID $$ > pids; mv pids waiting; exec sleep 60"
    api.script(SEND, Step(calls=(Call("Bash", {"command": wait}),)), SEND)
    await harness.start()
    broker.post("x")
    await until((harness.state / "waiting").exists, "the command runs")
    await harness.kill()
    for pid in (harness.state / "waiting").read_text().split():  # as its container's end does
        os.kill(int(pid), signal.SIGKILL)
    forget_results(harness.config)
    async with harness:
        end = await broker.ended(timeout=60)
        assert (end.turn, end.outcome) == ("1.1", "ok")
        assert broker.hellos[-1].running == Running(turn="1.1")
        assert len(broker.calls) == 1
        assert broker.asked == ["1.1:1", "1.1:1"]


@both_versions
async def test_a_result_that_was_not_on_disk_when_the_engine_was_killed_was_never_had(
    tmp_path: Path, cli: Path
) -> None:
    forgetful = forgetful_cli(tmp_path / "forgetful", cli)
    kill = "[ -e crashed ] || { touch crashed; kill -9 $PPID; }; echo survived"
    crash = Step(calls=(Call("Bash", {"command": kill}),))
    async with claude_rig(tmp_path, forgetful) as rig, rig.harness:
        rig.api.script(SEND, crash, SEND)
        rig.broker.post("x")
        end = await rig.broker.ended(timeout=60)
        assert (end.turn, end.outcome, end.unseen) == ("1.1", "ok", ())
        assert len(rig.broker.calls) == 1
        assert rig.broker.asked == ["1.1:1", "1.1:1"]


@both_versions
async def test_a_call_that_waits_when_the_harness_stops_takes_effect_once(
    harness: HarnessProcess, broker: FakeBroker, api: FakeApi
) -> None:
    answer = asyncio.Event()

    async def slow(_: object) -> str:
        await answer.wait()
        return "sent"

    broker.tools["send"] = slow  # type: ignore[assignment]
    api.script(SEND, SEND)
    await harness.start()
    broker.post("x")
    await broker.until(lambda: broker.calls)
    assert await harness.stop() == 0
    answer.set()
    await broker.until(lambda: broker.stored)
    async with harness:
        end = await broker.ended(timeout=60)
        assert (end.turn, end.outcome) == ("1.1", "ok")
        assert len(broker.calls) == 1
        assert set(broker.asked) == {"1.1:1"}


@both_versions
@pytest.mark.slow
async def test_a_cut_turn_goes_on_however_slow_the_machine_is(tmp_path: Path, cli: Path) -> None:
    slow = slow_cli(tmp_path / "slow", cli, seconds=12)
    held = asyncio.Event()
    async with claude_rig(tmp_path, slow) as rig:
        rig.api.script(SEND, Step(text="never seen", gate=held))
        await rig.harness.start()
        rig.broker.post("x")
        await rig.api.request(2)
        await rig.harness.kill()
        held.set()
        async with rig.harness:
            end = await rig.broker.ended(timeout=60)
            assert (end.turn, end.outcome, end.cause) == ("1.1", "ok", "")
            assert len(rig.api.requests) == 3


async def test_sigterm_in_mid_turn_is_orderly_and_resumes(
    harness: HarnessProcess, broker: FakeBroker, api: FakeApi
) -> None:
    held = asyncio.Event()
    api.script(Step(text="never seen", gate=held))
    await harness.start()
    broker.post("x")
    await api.request(1)
    assert await harness.stop() == 0
    assert broker.ends == []
    held.set()
    async with harness:
        end = await broker.ended(timeout=60)
        assert (end.turn, end.outcome) == ("1.1", "ok")
        assert api.requests[-1].everything.count("[hive] message 1 ") == 1


@both_versions
async def test_a_turn_that_finished_without_a_stored_result_is_given_back(
    harness: HarnessProcess, broker: FakeBroker, api: FakeApi
) -> None:
    async with harness:
        broker.post("x")
        await broker.ended()
    harness.lost_the_end_of("1.1")
    broker.ends.clear()
    broker.lease(1, "x")
    async with harness:
        end = await broker.ended(timeout=60)
        assert (end.turn, end.outcome, end.cause) == ("1.1", "failed", "restarted")
        assert len(api.requests) == 1


@both_versions
async def test_cancel_in_the_middle_of_an_answer_and_of_a_tool(
    harness: HarnessProcess, broker: FakeBroker, api: FakeApi
) -> None:
    loose = "trap '' TERM; setsid sh -c 'trap \"\" TERM; touch loose; sleep 1000' & sleep 1000"
    api.script(Step(text="endless", fault="hang", after=3))
    async with harness:
        broker.post("x")
        await api.request(1)
        await broker.call("command", command="cancel")
        assert (await broker.ended()).outcome == "cancelled"
        api.script(Step(calls=(Call("Bash", {"command": loose}),)))
        broker.post("y")
        async with asyncio.timeout(20):
            while not (harness.state / "loose").exists():
                await asyncio.sleep(0.02)
        await broker.call("command", command="cancel")
        assert (await broker.ended(2)).outcome == "cancelled"
        broker.post("z")
        assert (await broker.ended(3)).outcome == "ok"
        # What was cancelled is not taken up again.
        assert len(api.requests) == 3


async def test_an_unpermitted_tool_is_denied_and_the_turn_ends(
    harness: HarnessProcess, broker: FakeBroker, api: FakeApi
) -> None:
    harness.agent(engine="claude", tools=["Read"])
    api.script(Step(calls=(Call("Bash", {"command": "touch pwned"}),)))
    async with harness:
        broker.post("x")
        assert (await broker.ended()).outcome == "ok"
        assert not (harness.state / "pwned").exists()
        assert [row.data["ok"] for row in broker.rows if row.kind == "tool_result"] == [False]


async def test_a_call_that_is_too_large_for_a_message_is_refused_in_words(
    harness: HarnessProcess, broker: FakeBroker, api: FakeApi
) -> None:
    big = {"to": "operator", "body": "x" * (10 << 20)}
    api.script(Step(calls=(Call("mcp__hive__send", big),)))
    async with harness:
        broker.post("x")
        assert (await broker.ended(timeout=60)).outcome == "ok"
        assert broker.calls == []
        assert "larger than 1024 KiB" in api.requests[-1].last


async def test_a_changed_agent_file_counts_from_the_next_turn(
    harness: HarnessProcess, broker: FakeBroker, api: FakeApi
) -> None:
    async with harness:
        broker.post("the word is xyzzy")
        first = await broker.ended()
        harness.agent(engine="claude", model="claude-opus-5", prompt="You are another now.")
        broker.post("y")
        second = await broker.ended(2)
        assert api.requests[-1].body["model"] == "claude-opus-5"
        assert "You are another now." in api.requests[-1].system
        assert "xyzzy" in api.requests[-1].everything
        assert first.session == second.session


@pytest.mark.parametrize("transcript", ["", "garbage\n", '{"type":"user"}\n'])
async def test_a_session_that_cannot_be_resumed_is_left_behind(
    harness: HarnessProcess, broker: FakeBroker, api: FakeApi, transcript: str
) -> None:
    broker.regrant = True
    async with harness:
        broker.post("x")
        first = await broker.ended()
    (path,) = harness.config.glob(f"projects/*/{first.session}.jsonl")
    path.write_text(transcript)
    async with harness:
        broker.post("y")
        await broker.until(lambda: broker.ends[-1].outcome == "ok" and len(broker.ends) > 1)
        assert "| y" in api.requests[-1].last
