"""Long conversations are shortened, lost ones begin with notes; processes are renewed."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.claude_cli import OLDEST, VERSION
from support.claude_harness import both_versions, claude_rig
from support.fake_messages_api import Call, Request, Step

from hive_harness.engine.notes import Notes, with_notes
from hive_harness.engine.policy import Policy, is_better_begun_anew, is_long, needs_notes
from hive_harness.engine.repeats import MOST_REPEATS, Repeats
from hive_harness.spool import Session

SMALL = "claude-haiku-4-5"  # both versions give it a window of 200,000 tokens
LONG = Step(text="long", usage={"input_tokens": 150_000})


def told(request: Request) -> Step:
    """What a model says to notes, to a compaction, and to everything else."""
    if "<summary>" in request.last:
        return Step(text="<summary>all of it</summary>")
    if "Your conversation is shortened now" in request.last:
        return Step(text="remember the milk", usage={"input_tokens": 150_000})
    return Step(text="done")


def session(harness: Any) -> dict[str, Any]:
    return json.loads((harness.state / ".hive" / "session.json").read_text())


@both_versions
@pytest.mark.cli
@pytest.mark.timeout(120)
async def test_a_long_conversation_is_shortened_after_notes(tmp_path: Path, cli: Path) -> None:
    async with claude_rig(tmp_path, cli, model=SMALL) as rig:
        rig.api.default = told
        rig.api.script(LONG)
        async with rig.harness:
            rig.broker.post("the word is xyzzy")
            first = await rig.broker.ended()
            rig.broker.post("y")
            second = await rig.broker.ended(2)
            assert first.session == second.session
            assert (rig.harness.state / "notes.md").read_text() == "remember the milk\n"
            last = rig.api.requests[-1]
            assert "| y" in last.last
            assert "all of it" in last.everything
            assert "xyzzy" not in last.everything
            # What notes and compaction used is claimed by the turn that followed.
            assert second.usage.input_tokens > 150_000
            assert second.cost_usd > 0.15
            assert session(rig.harness)["base"] > 0
            rig.broker.post("z")
            third = await rig.broker.ended(3)
            assert third.usage.input_tokens < 1000


@pytest.mark.cli
@pytest.mark.timeout(120)
async def test_when_it_cannot_be_shortened_a_new_one_begins_with_the_notes(
    tmp_path: Path, cli: Path
) -> None:
    async with claude_rig(tmp_path, cli, model=SMALL) as rig:

        def no_summary(request: Request) -> Step:
            step = told(request)
            return Step(status=400) if "summary" in (step.text or "") else step

        rig.api.default = no_summary
        rig.api.script(LONG)
        async with rig.harness:
            rig.broker.post("the word is xyzzy")
            first = await rig.broker.ended()
            rig.broker.post("y")
            second = await rig.broker.ended(2)
            assert first.session != second.session
            assert "| remember the milk" in rig.api.requests[-1].last
            assert "xyzzy" not in rig.api.requests[-1].everything


# The oldest version does not even ask the model to shorten so short a conversation.
@pytest.mark.cli
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("cli", "asked"), [(VERSION, True), (VERSION, False), (OLDEST, False)], indirect=["cli"]
)
async def test_cancel_ends_a_compaction_and_the_conversation_stays(
    tmp_path: Path, cli: Path, asked: bool
) -> None:
    async with claude_rig(tmp_path, cli, model=SMALL) as rig:
        rig.api.default = told
        hangs = Step(text="never", fault="hang", after=3)
        rig.api.script(Step(text="short") if asked else LONG, hangs)
        async with rig.harness:
            rig.broker.post("the word is xyzzy")
            first = await rig.broker.ended()
            compacting = (
                asyncio.create_task(rig.broker.call("command", command="compact"))
                if asked
                else None
            )
            await rig.api.request(2, timeout=30)
            said = (await rig.broker.call("command", command="cancel"))["text"]
            assert said == "the conversation is not shortened now"
            if compacting is not None:
                answer = (await compacting)["text"]
                assert answer == "cancelled; the conversation is as it was"
            await rig.broker.state("idle")
            assert (await rig.broker.call("command", command="cancel"))["text"] == "nothing runs"
            rig.broker.post("y")
            second = await rig.broker.ended(2, timeout=60)
            assert (second.outcome, second.session) == ("ok", first.session)
            assert "xyzzy" in rig.api.requests[-1].everything
            assert not any("<summary>" in r.last for r in rig.api.requests[2:])
            assert not (rig.harness.state / "notes.md").exists()


@both_versions
@pytest.mark.cli
@pytest.mark.timeout(120)
async def test_a_person_shortens_a_conversation_and_says_what_to_keep(
    tmp_path: Path, cli: Path
) -> None:
    async with claude_rig(tmp_path, cli, model=SMALL) as rig, rig.harness:
        rig.api.default = told
        for n in range(3):
            rig.broker.post(f"the word is xyzzy {n}")
            await rig.broker.ended(n + 1)
        hint = "keep the word"
        answer = await rig.broker.call("command", command="compact", argument=hint)
        assert answer["text"] == "the conversation was shortened"
        assert hint in rig.api.requests[-1].last
        rig.broker.post("y")
        end = await rig.broker.ended(4)
        assert end.session == rig.broker.ends[0].session
        assert "all of it" in rig.api.requests[-1].everything
        assert "xyzzy" not in rig.api.requests[-1].everything


@both_versions
@pytest.mark.cli
@pytest.mark.timeout(120)
async def test_a_person_takes_another_model_until_the_next_restart(
    tmp_path: Path, cli: Path
) -> None:
    async with claude_rig(tmp_path, cli, model=SMALL) as rig:
        async with rig.harness:
            rig.broker.post("the word is xyzzy")
            await rig.broker.ended()
            await rig.broker.call("command", command="model", argument="claude-opus-5")
            rig.broker.post("y")
            await rig.broker.ended(2)
            assert rig.api.requests[-1].body["model"] == "claude-opus-5"
            assert "xyzzy" in rig.api.requests[-1].everything
        async with rig.harness:
            rig.broker.post("z")
            await rig.broker.ended(3)
            assert rig.api.requests[-1].body["model"] == SMALL


@both_versions
@pytest.mark.cli
@pytest.mark.timeout(120)
@pytest.mark.parametrize("command", ["clear", "new-session"])
async def test_a_new_session_begins_with_nothing_or_with_notes(
    tmp_path: Path, cli: Path, command: str
) -> None:
    async with claude_rig(tmp_path, cli) as rig, rig.harness:
        (rig.harness.state / "notes.md").write_text("remember the milk\n")
        rig.broker.post("the word is xyzzy")
        first = await rig.broker.ended()
        said = (await rig.broker.call("command", command=command))["text"]
        assert "a new session begins with the next turn" in said
        rig.broker.post("y")
        second = await rig.broker.ended(2)
        assert second.session != first.session
        last = rig.api.requests[-1]
        assert "xyzzy" not in last.everything
        assert ("| remember the milk" in last.last) == (command == "new-session")


@pytest.mark.cli
@pytest.mark.timeout(120)
async def test_a_cli_that_hangs_while_it_takes_notes_holds_up_nobody(
    tmp_path: Path, cli: Path
) -> None:
    async with claude_rig(tmp_path, cli, "--stall-after", "4", model=SMALL) as rig:
        rig.api.default = told
        rig.api.script(LONG, Step(text="never", fault="hang", after=3), Step(status=400))
        async with rig.harness:
            rig.broker.post("x")
            await rig.broker.ended()
            rig.broker.post("y")
            assert (await rig.broker.ended(2, timeout=60)).outcome == "ok"
            assert not (rig.harness.state / "notes.md").exists()


@both_versions
@pytest.mark.cli
@pytest.mark.timeout(120)
async def test_a_prompt_that_is_too_long_is_recovered_once(tmp_path: Path, cli: Path) -> None:
    too_long = Step(status=400, message="prompt is too long: 250000 tokens > 200000 maximum")
    async with claude_rig(tmp_path, cli) as rig:
        (rig.harness.state / "notes.md").write_text("remember the milk\n")
        rig.broker.regrant = True
        async with rig.harness:
            rig.broker.post("the word is xyzzy")
            first = await rig.broker.ended()
            rig.api.default = lambda request: (
                Step(text="fine") if "remember the milk" in request.last else too_long
            )
            rig.broker.post("y")
            failed = await rig.broker.ended(2, timeout=60)
            assert (failed.cause, failed.counted, failed.discarded) == (
                "prompt_too_long",
                True,
                True,
            )
            again = await rig.broker.ended(3, timeout=60)
            assert (again.turn, again.outcome) == ("2.2", "ok")
            assert again.session != first.session
            assert "| remember the milk" in rig.api.requests[-1].last


LARGE = Step(text="large", usage={"input_tokens": 60_000})


def made_cold(harness: Any) -> None:
    path = harness.state / ".hive" / "session.json"
    path.write_text(json.dumps({**session(harness), "at": time.time() - 7200}))


@both_versions
@pytest.mark.cli
@pytest.mark.timeout(120)
async def test_notes_are_taken_before_a_conversation_is_cold(tmp_path: Path, cli: Path) -> None:
    async with claude_rig(tmp_path, cli, "--notes-after", "0.3", when_cold="notes") as rig:
        rig.api.default = told
        rig.api.script(LARGE)
        async with rig.harness:
            rig.broker.post("the word is xyzzy")
            await rig.broker.ended()
            await rig.api.request(2)
            await rig.broker.until(lambda: session(rig.harness).get("noted"))
            await rig.broker.state("idle")
            assert any("takes notes" in s.get("detail", "") for s in rig.broker.states)
        made_cold(rig.harness)
        async with rig.harness:
            rig.broker.post("y")
            end = await rig.broker.ended(2)
            assert "xyzzy" not in rig.api.requests[-1].everything
            assert "| remember the milk" in rig.api.requests[-1].last
            assert end.usage.input_tokens > 150_000  # what the notes cost is claimed


@pytest.mark.cli
@pytest.mark.timeout(120)
@pytest.mark.parametrize("uses", [LONG, LARGE])
async def test_the_model_is_not_asked_between_turns_of_an_agent_that_is_paused(
    tmp_path: Path, cli: Path, uses: Step
) -> None:
    agent = {"model": SMALL, "when_cold": "notes"}
    async with claude_rig(tmp_path, cli, "--notes-after", "0.3", **agent) as rig:
        rig.broker.open = False
        rig.api.default = told
        rig.api.script(uses)
        async with rig.harness:
            rig.broker.post("x")
            await rig.broker.ended()
            await rig.broker.until(lambda: rig.broker.upkeeps == (2 if uses is LONG else 1))
            rig.broker.post("y")
            await rig.broker.ended(2)
            assert [request.last for request in rig.api.requests if "| " not in request.last] == []
            assert not any("takes notes" in s.get("detail", "") for s in rig.broker.states)
            assert not (rig.harness.state / "notes.md").exists()


@pytest.mark.cli
@pytest.mark.timeout(120)
@pytest.mark.parametrize("when_cold", ["resume", "notes"])
async def test_a_cold_conversation_without_fresh_notes_is_gone_on_with(
    tmp_path: Path, cli: Path, when_cold: str
) -> None:
    """There are notes, but what was said since is not in them."""
    async with claude_rig(tmp_path, cli, when_cold=when_cold) as rig:
        (rig.harness.state / "notes.md").write_text("remember the milk\n")
        rig.api.script(LARGE)
        async with rig.harness:
            rig.broker.post("the word is xyzzy")
            await rig.broker.ended()
        made_cold(rig.harness)
        async with rig.harness:
            rig.broker.post("y")
            await rig.broker.ended(2)
            assert "xyzzy" in rig.api.requests[-1].everything


@pytest.mark.cli
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("cli", "flags"),
    [
        (VERSION, ("--engine-turns", "1")),
        (OLDEST, ("--engine-turns", "1")),
        (VERSION, ("--engine-mib", "20")),
    ],
    indirect=["cli"],
)
async def test_a_process_that_grew_or_played_enough_is_renewed(
    tmp_path: Path, cli: Path, flags: tuple[str, str]
) -> None:
    async with claude_rig(tmp_path, cli, *flags) as rig, rig.harness:
        pids = set()
        for n in range(2):
            command = Call("Bash", {"command": "echo $PPID > pid"})
            rig.api.script(Step(calls=(command,)))
            rig.broker.post(f"word{n}")
            ended = await rig.broker.ended(n + 1)
            assert ended.outcome == "ok"
            assert ended.cost_usd > 0
            pids.add((rig.harness.state / "pid").read_text())
        assert len(pids) == 2
        assert "word0" in rig.api.requests[-1].everything
        ends = rig.broker.ends
        assert ends[0].cost_usd == pytest.approx(ends[1].cost_usd)


@both_versions
@pytest.mark.cli
@pytest.mark.timeout(120)
async def test_an_idle_engine_is_stopped_and_its_session_resumed(tmp_path: Path, cli: Path) -> None:
    async with claude_rig(tmp_path, cli, "--idle-stop", "0.3") as rig, rig.harness:
        rig.api.script(Step(calls=(Call("Bash", {"command": "echo $PPID > pid"}),)))
        rig.broker.post("the word is xyzzy")
        first = await rig.broker.ended()
        process = Path("/proc", (rig.harness.state / "pid").read_text().strip())
        async with asyncio.timeout(20):
            while process.exists():
                await asyncio.sleep(0.02)
        rig.broker.post("y")
        second = await rig.broker.ended(2)
        assert second.session == first.session
        assert second.cost_usd > 0
        assert "xyzzy" in rig.api.requests[-1].everything


@pytest.mark.cli
@pytest.mark.timeout(120)
async def test_a_turn_that_goes_in_circles_is_ended(tmp_path: Path, cli: Path) -> None:
    async with claude_rig(tmp_path, cli) as rig:
        rig.api.default = Step(calls=(Call("Bash", {"command": "echo same"}),))
        async with rig.harness:
            rig.broker.post("x")
            end = await rig.broker.ended(timeout=60)
            assert (end.outcome, end.cause, end.counted) == ("failed", "loop", True)
            assert "Bash was called 20 times" in end.detail
            assert end.cost_usd > 0
            assert MOST_REPEATS <= len(rig.api.requests) <= MOST_REPEATS + 2


# -- the pure parts ------------------------------------------------------------------

POLICY = Policy(0.7, "notes")


def test_when_a_conversation_is_long() -> None:
    assert is_long(Session("s", "claude", context=140, window=200), POLICY)
    assert not is_long(Session("s", "claude", context=139, window=200), POLICY)
    assert not is_long(Session("s", "claude", context=10**6), POLICY)  # an unknown window
    assert not is_long(Session("s", "claude", context=150, window=200, base=100), POLICY)
    assert is_long(Session("s", "claude", context=200, window=200, base=100), POLICY)


def test_when_notes_are_better() -> None:
    cold = Session("s", "claude", context=60_000, at=0.0, noted=True)
    assert is_better_begun_anew(cold, POLICY, 3600)
    assert not is_better_begun_anew(cold, POLICY, 3599)
    assert not is_better_begun_anew(cold, Policy(0.7, "resume"), 3600)
    assert not is_better_begun_anew(replace(cold, context=50_000), POLICY, 3600)
    assert not is_better_begun_anew(replace(cold, noted=False), POLICY, 3600)


def test_when_notes_are_taken() -> None:
    warm = Session("s", "claude", context=60_000)
    assert needs_notes(warm, POLICY)
    assert not needs_notes(replace(warm, noted=True), POLICY)
    assert not needs_notes(replace(warm, context=50_000), POLICY)
    assert not needs_notes(warm, Policy(0.7, "resume"))


@given(st.text())
def test_notes_cannot_break_out_of_their_quotation(notes: str) -> None:
    *lines, prompt = with_notes("PROMPT", notes).split("\n")
    assert prompt == "PROMPT"
    if notes:
        head, *quoted, empty = lines
        assert (head[:6], empty) == ("[hive]", "")
        assert all(line.startswith("| ") for line in quoted)


@pytest.mark.parametrize("make", ["pipe", "directory", "missing", "link"])
def test_what_is_no_file_of_notes_is_none(tmp_path: Path, make: str) -> None:
    path = tmp_path / "notes.md"
    makers: dict[str, Callable[[], object]] = {
        "pipe": lambda: os.mkfifo(path),
        "directory": path.mkdir,
        "missing": lambda: None,
        "link": lambda: path.symlink_to("nowhere"),
    }
    makers[make]()
    assert Notes(tmp_path).read() == ""


def repeated(answers: list[str], tool: str = "Bash") -> list[str | None]:
    repeats = Repeats()
    found = []
    for n, answer in enumerate(answers):
        repeats.called({"id": str(n), "name": tool, "input": {"a": 1}})
        found.append(repeats.answered({"tool_use_id": str(n), "content": answer}))
    return found


def test_only_equal_answers_to_equal_calls_count() -> None:
    assert repeated(["x"] * MOST_REPEATS) == [None] * (MOST_REPEATS - 1) + ["Bash"]
    assert set(repeated([str(n) for n in range(50)])) == {None}
    assert set(repeated((["x"] * (MOST_REPEATS - 1) + ["y"]) * 3)) == {None}
