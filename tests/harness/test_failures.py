"""What goes wrong around the engine: a state that people see, a bounded retry, a turn that is
played once when it is over. All with the real CLI."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest
from support.claude_harness import Rig, both_versions, claude_rig
from support.fake_messages_api import Call, Step

from hive_harness.engine.process import EngineMissing
from hive_harness.engine.version import usable

pytestmark = [pytest.mark.timeout(150)]


async def plays(rig: Rig, count: int) -> None:
    """The swarm is well again: the next message is one turn."""
    rig.api.default = Step(text="fine")
    rig.broker.post("again")
    assert (await rig.broker.ended(count, timeout=60)).outcome == "ok"
    await rig.broker.state("idle")


TOO_LONG = Step(status=400, message="prompt is too long: 250000 tokens > 200000 maximum")
POOR = Step(status=400, message="Your credit balance is too low.")
LATER = Step(status=429, headers={"retry-after": "3600"})


@pytest.mark.cli
@both_versions
@pytest.mark.parametrize(
    ("step", "cause", "state"),
    [
        (Step(status=401), "auth", "needs-login"),
        (Step(status=403), "auth", "needs-login"),
        (LATER, "rate_limit", "rate-limited"),
        (POOR, "billing", "failed"),
        (TOO_LONG, "prompt_too_long", "idle"),
        (Step(status=400), "invalid_request", "idle"),
        (Step(status=404), "model_error", "idle"),
        (Step(status=413), "invalid_request", "idle"),
        (Step(text="no", stop="refusal"), "refused", "idle"),
    ],
)
async def test_the_api_refuses(
    tmp_path: Path, cli: Path, step: Step, cause: str, state: str
) -> None:
    async with claude_rig(tmp_path, cli) as rig, rig.harness:
        rig.api.default = step
        rig.broker.post("x")
        end = await rig.broker.ended(timeout=60)
        assert (end.outcome, end.cause, end.counted) == ("failed", cause, state == "idle")
        assert end.detail
        assert (await rig.broker.state(state)).get("detail") or state == "idle"
        await plays(rig, 2)


@pytest.mark.cli
@pytest.mark.slow
@both_versions
@pytest.mark.parametrize(
    ("step", "cause"),
    [
        (Step(status=529), "overloaded"),
        (Step(status=500), "server_error"),
        (Step(status=429), "rate_limit"),
    ],
)
async def test_the_api_stays_broken(tmp_path: Path, cli: Path, step: Step, cause: str) -> None:
    async with claude_rig(tmp_path, cli) as rig, rig.harness:
        rig.api.default = step
        rig.broker.post("x")
        end = await rig.broker.ended(timeout=90)
        assert (end.outcome, end.cause, end.counted) == ("failed", cause, False)
        await rig.broker.state("rate-limited" if cause == "rate_limit" else "failed")
        told = [s.get("detail", "") for s in rig.broker.states if s["state"] == "thinking"]
        assert any(f"the model's API answered {step.status}; it is asked again" in t for t in told)
        await plays(rig, 2)


@pytest.mark.cli
@pytest.mark.slow
@both_versions
async def test_the_gateway_is_away_and_comes_back(tmp_path: Path, cli: Path) -> None:
    async with claude_rig(tmp_path, cli) as rig:
        sock = rig.harness.run / "model" / "model.sock"
        aside = sock.with_name("aside")
        sock.rename(aside)
        async with rig.harness:
            rig.broker.post("x")
            end = await rig.broker.ended(timeout=90)
            assert (end.outcome, end.cause, end.counted) == ("failed", "server_error", False)
            await rig.broker.state("failed")
            aside.rename(sock)
            await plays(rig, 2)


@pytest.mark.cli
async def test_the_gateway_blinks(tmp_path: Path, cli: Path) -> None:
    async with claude_rig(tmp_path, cli) as rig:
        sock = rig.harness.run / "model" / "model.sock"
        aside = sock.with_name("aside")
        sock.rename(aside)
        async with rig.harness:
            rig.broker.post("x")
            await rig.broker.state("thinking")
            await asyncio.sleep(1)  # the outage itself
            aside.rename(sock)
            assert (await rig.broker.ended(timeout=60)).outcome == "ok"


@pytest.mark.cli
@both_versions
@pytest.mark.parametrize("fault", ["hang", "disconnect", "malformed", "sse_error", "truncate"])
async def test_a_stream_that_breaks_is_one_turn(tmp_path: Path, cli: Path, fault: str) -> None:
    async with claude_rig(tmp_path, cli, "--stall-after", "3") as rig, rig.harness:
        rig.api.script(Step(text="never all of this", fault=fault, after=3))  # type: ignore[arg-type]
        rig.broker.post("x")
        end = await rig.broker.ended(timeout=90)
        assert (end.turn, end.outcome) == ("1.1", "ok")
        await rig.broker.state("idle")
        await plays(rig, 2)


@pytest.mark.cli
@pytest.mark.slow
@both_versions
@pytest.mark.parametrize("silent", ["head", "stream"])
async def test_an_api_that_stays_silent_fails_the_turn(
    tmp_path: Path, cli: Path, silent: str
) -> None:
    """It accepts the request and says nothing, or nothing after some words."""
    never = Step(gate=asyncio.Event()) if silent == "head" else Step(fault="hang", after=3)
    async with claude_rig(tmp_path, cli, "--stall-after", "2") as rig, rig.harness:
        rig.api.default = never
        rig.broker.post("x")
        end = await rig.broker.ended(timeout=90)
        assert (end.outcome, end.cause, end.counted) == ("failed", "stalled", False)
        assert (await rig.broker.state("failed"))["detail"] == "the engine said nothing for 2 s"
        assert len(rig.api.requests) in (2, 3)  # once, and after one restart or two
        await plays(rig, 2)


@pytest.mark.cli
@both_versions
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_cli_that_hangs_is_started_anew(tmp_path: Path, cli: Path, when: str) -> None:
    """Before its result, and after one."""
    async with claude_rig(tmp_path, cli, "--stall-after", "3") as rig, rig.harness:
        rig.api.script(Step(calls=(Call("Bash", {"command": "echo $PPID > pid"}),)))
        rig.broker.post("x")
        assert (await rig.broker.ended()).outcome == "ok"
        pid = int((rig.harness.state / "pid").read_text())
        held = asyncio.Event()
        if when == "before":
            rig.api.script(Step(text="never seen", gate=held))
            rig.broker.post("y")
            await rig.api.request(3)
        os.kill(pid, signal.SIGSTOP)
        held.set()
        if when == "after":
            rig.broker.post("y")
        end = await rig.broker.ended(2, timeout=60)
        assert (end.turn, end.outcome) == ("2.1", "ok")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            raise AssertionError("the process that hung still lives")
        assert rig.api.requests[-1].everything.count("[hive] message 2 ") == 1


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        (None, "is the engine installed"),
        ("echo 2.0.9 '(Claude Code)'", "speaks 2.1.140 and later of 2.1"),
        ("echo hello", "names no version"),
    ],
)
async def test_a_cli_that_cannot_be_used(tmp_path: Path, engine: str | None, words: str) -> None:
    path = tmp_path / "engine"
    if engine is not None:
        path.write_text(f"#!/bin/sh\n{engine}\n")
        path.chmod(0o755)
    async with claude_rig(tmp_path, path) as rig, rig.harness:
        state = await rig.broker.state("failed")
        assert words in state["detail"]
        rig.broker.post("x")
        end = await rig.broker.ended()
        assert (end.outcome, end.cause, end.counted) == ("failed", "engine_missing", False)
        path.write_text("#!/bin/sh\nexit 7\n")
        path.chmod(0o755)
        rig.broker.post("y")
        assert "names no version" in (await rig.broker.ended(2)).detail


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        (b"2.1.197 (Claude Code)\n", (2, 1, 197)),
        (b"2.1.9999 (Claude Code)\n", (2, 1, 9999)),
        (b"2.1.139 (Claude Code)\n", None),
        (b"2.2.0 (Claude Code)\n", None),
        (b"3.0.0 (Claude Code)\n", None),
        (b"", None),
        (b"\xff\xfe", None),
    ],
)
def test_which_versions_are_spoken(printed: bytes, version: tuple[int, int, int] | None) -> None:
    if version is not None:
        assert usable("claude", printed) == version
        return
    with pytest.raises(EngineMissing):
        usable("claude", printed)


@pytest.mark.cli
async def test_the_broker_is_away_while_a_turn_runs(tmp_path: Path, cli: Path) -> None:
    held = asyncio.Event()
    async with claude_rig(tmp_path, cli) as rig, rig.harness:
        rig.api.script(Step(text="said meanwhile", gate=held))
        rig.broker.post("x")
        await rig.api.request(1)
        await rig.broker.stop()
        held.set()
        ended = rig.harness.state / ".hive" / "ended" / "1.1.json"
        async with asyncio.timeout(20):
            while not ended.exists():
                await asyncio.sleep(0.02)
        await rig.broker.start()
        end = await rig.broker.ended()
        assert (end.turn, end.outcome) == ("1.1", "ok")
        assert "said meanwhile" in await rig.broker.until(rig.broker.texts)
        assert len(rig.api.requests) == 1
