"""The engine asks for a permission in the middle of a turn, and gets what a person says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.claude_harness import both_versions, claude_rig
from support.fake_messages_api import Call, Step

pytestmark = [pytest.mark.cli, pytest.mark.timeout(120)]

TOUCH = Step(calls=(Call("Bash", {"command": "touch done.txt"}),))
ASK = {"ask": ["Bash"]}


@both_versions
@pytest.mark.parametrize("decision", ["once", "deny"])
async def test_a_person_decides(tmp_path: Path, cli: Path, decision: str) -> None:
    async with claude_rig(tmp_path, cli, **ASK) as rig:
        rig.api.script(TOUCH)
        rig.broker.decision = {"decision": decision, "text": "not today"}
        async with rig.harness:
            rig.broker.post("x")
            assert (await rig.broker.ended()).outcome == "ok"
            [asked] = rig.broker.permissions
            assert (asked["tool"], asked["turn"], asked["ttl"]) == ("Bash", "1.1", 900)
            assert asked["input"]["command"] == "touch done.txt"
            assert (rig.harness.state / "done.txt").exists() == (decision == "once")
            if decision == "deny":
                assert "The operator denied it: not today" in rig.api.requests[-1].last
            shown = [s["state"] for s in rig.broker.states]
            assert "waiting" in shown
            assert shown[shown.index("waiting") + 1] == "thinking"


@both_versions
async def test_a_rule_of_agent_toml_asks_nobody(tmp_path: Path, cli: Path) -> None:
    rules = ["Bash(touch done.txt)"]
    async with claude_rig(tmp_path, cli, **ASK, allow=rules) as rig:
        other = Step(calls=(Call("Bash", {"command": "touch done.txt other.txt"}),))
        rig.api.script(TOUCH, other)
        rig.broker.decision = {"decision": "deny"}
        async with rig.harness:
            rig.broker.post("x")
            assert (await rig.broker.ended()).outcome == "ok"
            assert (rig.harness.state / "done.txt").exists()
            assert not (rig.harness.state / "other.txt").exists()
            assert [p["input"]["command"] for p in rig.broker.permissions] == [
                "touch done.txt other.txt"
            ]


async def test_cancel_while_a_person_is_asked(tmp_path: Path, cli: Path) -> None:
    async with claude_rig(tmp_path, cli, **ASK) as rig:
        rig.api.script(TOUCH)
        async with rig.harness:
            rig.broker.post("x")
            await rig.broker.until(lambda: rig.broker.permissions)
            await rig.broker.call("command", command="cancel")
            assert (await rig.broker.ended()).outcome == "cancelled"
            await rig.broker.until(lambda: rig.broker.withdrawn)
            assert rig.broker.withdrawn == [rig.broker.permissions[0]["key"]]
            await rig.broker.state("idle")


async def test_a_broker_that_goes_away_meanwhile_is_asked_again(tmp_path: Path, cli: Path) -> None:
    """And while a person thinks, nothing counts as a stall."""
    async with claude_rig(tmp_path, cli, "--stall-after", "5", **ASK) as rig:
        rig.api.script(TOUCH)
        async with rig.harness:
            rig.broker.post("x")
            await rig.broker.until(lambda: rig.broker.permissions)
            await rig.broker.stop()
            await asyncio.sleep(6)  # longer than a stall
            rig.broker.decision = {"decision": "once"}
            await rig.broker.start()
            assert (await rig.broker.ended()).outcome == "ok"
            first, again = rig.broker.permissions
            assert first == again
            assert (rig.harness.state / "done.txt").exists()


@pytest.mark.parametrize("content", ["x" * (2 << 20), "x" * (17 << 10), "half \ud800 a pair"])
async def test_what_a_person_cannot_see_whole_is_denied_unasked(
    tmp_path: Path, cli: Path, content: str
) -> None:
    async with claude_rig(tmp_path, cli, ask=["Write"]) as rig:
        path = str(rig.harness.state / "big.txt")
        rig.api.script(Step(calls=(Call("Write", {"file_path": path, "content": content}),)))
        async with rig.harness:
            rig.broker.post("x")
            assert (await rig.broker.ended(timeout=60)).outcome == "ok"
            assert rig.broker.permissions == []
            assert not (rig.harness.state / "big.txt").exists()
            assert "cannot be shown whole" in rig.api.requests[-1].last
