"""The harness on the rehearsal engine: turns, tools, crashes, commands, idleness."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from support.fake_broker import FakeBroker, ToolError
from support.harness_process import ANSWER, HarnessProcess


async def test_a_message_becomes_a_turn_with_rows_and_a_tool_call(
    harness: HarnessProcess, broker: FakeBroker
) -> None:
    async with harness:
        await broker.state("idle")
        broker.post("hello\n/clear\n[hive] message 9")
        end = await broker.ended()
        assert (end.outcome, end.cause, end.turn) == ("ok", "", "1.1")
        assert end.session == broker.hellos[0].session or end.session
        assert broker.calls == [
            ("1.1:1", "send", {"to": "operator", "body": "re: hello\n/clear\n[hive] message 9"})
        ]
        assert broker.texts() == ["on it", "done"]
        assert [row.kind for row in broker.rows if row.kind != "engine"] == [
            "text",
            "tool_use",
            "tool_result",
            "text",
        ]
        assert {row.turn for row in broker.rows} == {"1.1"}
        assert [state["state"] for state in broker.states][-2:] == ["thinking", "idle"]
        assert await harness.stop() == 0


async def test_turns_are_played_in_order_and_one_at_a_time(
    harness: HarnessProcess, broker: FakeBroker
) -> None:
    async with harness:
        for number in range(20):
            broker.post(f"m{number}")
        await broker.ended(20)
        assert [call[2]["body"] for call in broker.calls] == [f"re: m{n}" for n in range(20)]
        assert [end.turn for end in broker.ends] == [f"{n}.1" for n in range(1, 21)]


async def test_a_tools_error_is_shown_and_the_turn_still_ends(
    harness: HarnessProcess, broker: FakeBroker
) -> None:
    def refuse(_: object) -> str:
        raise ToolError("you may not write to mars")

    broker.tools["send"] = refuse
    async with harness:
        broker.post("x")
        assert (await broker.ended()).outcome == "ok"
        assert any("mars" in text for text in broker.texts())
        assert [r.data["ok"] for r in broker.rows if r.kind == "tool_result"] == [False]


CRASH_ONCE = """
[[rule]]
[[rule.step]]
say = "one"
[[rule.step]]
tool = "send"
args = { to = "a", body = "before" }
[[rule.step]]
run = "[ -e crashed ] || { touch crashed; kill -9 $PPID; }"
[[rule.step]]
tool = "send"
args = { to = "a", body = "after" }
"""


async def test_an_engine_that_crashes_in_mid_turn_goes_on_where_it_was(
    harness: HarnessProcess, broker: FakeBroker
) -> None:
    harness.script(CRASH_ONCE)
    async with harness:
        broker.post("x")
        assert (await broker.ended()).outcome == "ok"
        assert [call[2]["body"] for call in broker.calls] == ["before", "after"]
        assert broker.granted == ["1.1"]


async def test_an_engine_that_always_crashes_gives_the_message_back_uncounted(
    harness: HarnessProcess, broker: FakeBroker
) -> None:
    broker.regrant = False
    harness.script('[[rule]]\n[[rule.step]]\nrun = "kill -9 $PPID"\n')
    async with harness:
        broker.post("x")
        end = await broker.ended()
        assert (end.outcome, end.counted, end.cause) == ("failed", False, "engine_crash")
        assert "-9" in end.detail
        assert (await broker.state("failed"))["detail"] == end.detail


async def test_commands_of_the_page(harness: HarnessProcess, broker: FakeBroker) -> None:
    async with harness:
        broker.post("x")
        first = await broker.ended()
        assert "nothing" in (await broker.call("command", command="cancel"))["text"]
        assert "opus" in (await broker.call("command", command="model", argument="opus"))["text"]
        assert (await broker.call("command", command="compact"))["text"]
        await broker.call("command", command="new-session")
        broker.post("y")
        second = await broker.ended(2)
        assert second.session != first.session
        with pytest.raises(Exception, match="no command 'dance'"):
            await broker.call("command", command="dance")


async def test_help_names_every_command(harness: HarnessProcess, broker: FakeBroker) -> None:
    async with harness:
        await broker.state("idle")
        said = (await broker.call("command", command="help"))["text"]
        explained = {line.split()[0] for line in said.splitlines()}
        assert explained >= {"/help", "/cancel", "/compact", "/clear", "/new-session", "/model"}


async def test_a_broken_agent_file_keeps_the_last_good_one(
    harness: HarnessProcess, broker: FakeBroker
) -> None:
    async with harness:
        broker.post("x")
        await broker.ended()
        (harness.run / "agent.json").write_text("{")
        broker.post("y")
        assert (await broker.ended(2)).outcome == "ok"
        assert "not JSON" in (await broker.state("idle"))["detail"]


async def test_without_any_agent_file_the_message_waits(
    harness: HarnessProcess, broker: FakeBroker
) -> None:
    (harness.run / "agent.json").unlink()
    broker.regrant = False
    async with harness:
        broker.post("x")
        end = await broker.ended()
        assert (end.cause, end.counted) == ("engine_missing", False)
        assert "agent.json" in end.detail


async def test_a_missing_engine_says_so(harness: HarnessProcess, broker: FakeBroker) -> None:
    harness.agent(engine="claude")
    broker.regrant = False
    async with harness:
        state = await broker.state("failed")
        assert "no-engine" in state["detail"]
        broker.post("x")
        assert (await broker.ended()).cause == "engine_missing"


async def test_a_second_harness_on_the_same_state_is_refused(
    harness: HarnessProcess, broker: FakeBroker
) -> None:
    async with harness:
        await broker.state("idle")
        second = HarnessProcess(harness.root)
        await second.start()
        assert second.process is not None
        async with asyncio.timeout(10):
            assert await second.process.wait() == 1
        assert "another harness" in harness.log


async def test_an_idle_engine_is_stopped_and_comes_back(
    tmp_path: Path,
) -> None:
    harness = HarnessProcess(tmp_path, "--idle-stop", "0.2")
    harness.agent()
    harness.script(ANSWER)
    async with FakeBroker(harness.run) as broker, harness:
        await broker.state("idle")
        assert harness.process is not None
        children = Path(f"/proc/{harness.process.pid}/task/{harness.process.pid}/children")
        async with asyncio.timeout(10):
            while children.read_text().split():
                await asyncio.sleep(0.02)
        broker.post("x")
        first = await broker.ended()
        async with asyncio.timeout(10):
            while children.read_text().split():
                await asyncio.sleep(0.02)
        broker.post("y")
        assert (await broker.ended(2)).session == first.session


async def test_an_engine_that_says_nothing_is_restarted_and_at_last_given_up(
    tmp_path: Path,
) -> None:
    harness = HarnessProcess(tmp_path, "--stall-after", "0.3")
    harness.agent()
    # A stopped engine says nothing, and no tool of it is known to run.
    harness.script('[[rule]]\n[[rule.step]]\ntool = "send"\n')
    async with FakeBroker(harness.run) as broker:
        broker.regrant = False
        broker.tools["send"] = lambda _: "x"
        stopper = tmp_path / "engine"
        stopper.write_text(
            '#!/bin/sh\n[ "$1" != --version ] || exec echo "2.1.330 (Claude Code)"\n'
            'read line; echo \'{"type":"control_response","response":'
            '{"request_id":"hive-1","subtype":"success"}}\'; exec sleep 1000\n'
        )
        stopper.chmod(0o755)
        harness._engine_path = stopper
        harness.agent(engine="claude")
        async with harness:
            broker.post("x")
            end = await broker.ended()
            assert (end.cause, end.counted) == ("stalled", False)


async def test_orphans_are_reaped(harness: HarnessProcess, broker: FakeBroker) -> None:
    orphan = "setsid sh -c 'sleep 0.1; touch died' >/dev/null 2>&1 &"
    harness.script(f'[[rule]]\n[[rule.step]]\nrun = "{orphan}"\n')
    async with harness:
        broker.post("x")
        await broker.ended()
        async with asyncio.timeout(10):
            while not (harness.state / "died").exists():
                await asyncio.sleep(0.01)
            while _zombies(harness):
                await asyncio.sleep(0.01)


def _zombies(harness: HarnessProcess) -> list[str]:
    assert harness.process is not None
    folder = Path(f"/proc/{harness.process.pid}/task/{harness.process.pid}")
    children = (folder / "children").read_text().split()
    found = []
    for child in children:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it was reaped just now
            if ") Z " in Path(f"/proc/{child}/stat").read_text():
                found.append(child)
    return found


async def test_memory_of_an_idle_harness(harness: HarnessProcess, broker: FakeBroker) -> None:
    async with harness:
        await broker.state("idle")
        broker.post("x")
        await broker.ended()
        assert harness.process is not None
        status = Path(f"/proc/{harness.process.pid}/status").read_text()
        rss = int(status.split("VmRSS:")[1].split()[0])
        assert rss < 24 << 10, f"{rss} KiB"


SAYS = '[[rule]]\n[[rule.step]]\nsay = "{}"\n'


async def test_scripts_of_people_are_for_a_name_or_a_role_and_read_at_every_turn(
    harness: HarnessProcess, broker: FakeBroker
) -> None:
    def script(file: str, text: str) -> None:
        (harness.rehearsal / file).write_text(text)

    script("manager.toml", SAYS.format("not mine"))
    script("agent.toml", SAYS.format("of my role"))
    async with harness:
        broker.post("x")
        await broker.ended()
        script("tester.toml", SAYS.format("my own"))
        broker.post("x")
        await broker.ended(2)
        for path in harness.rehearsal.iterdir():
            path.unlink()
        broker.post("hello")
        await broker.ended(3)
        assert broker.texts() == ["of my role", "my own", "operator wrote to me. I answer."]


async def test_a_script_that_cannot_be_used_says_where(
    harness: HarnessProcess, broker: FakeBroker
) -> None:
    broker.regrant = False
    (harness.rehearsal / "tester.toml").write_text('[[rule]]\n[[rule.step]]\nsing = "la"\n')
    async with harness:
        broker.post("x")
        end = await broker.ended()
        assert (end.outcome, end.cause, end.counted) == ("failed", "model_error", True)
        assert "tester.toml: rule 1, step 1 has exactly one of say, tool" in end.detail
