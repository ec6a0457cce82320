"""A turn that is cut: by kill -9, by a stop, by a broker that is away, by a person."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from support.fake_broker import FakeBroker
from support.harness_process import ANSWER, HarnessProcess
from support.odd_engine import odd_engine

WAIT_FOR_GO = """
[[rule]]
[[rule.step]]
tool = "send"
args = { to = "a", body = "first" }
[[rule.step]]
run = "touch waiting; while [ ! -e go ]; do sleep 0.02; done"
[[rule.step]]
tool = "send"
args = { to = "a", body = "second" }
"""


async def _waits(harness: HarnessProcess) -> None:
    async with asyncio.timeout(20):
        while not (harness.state / "waiting").exists():
            await asyncio.sleep(0.01)


async def test_kill_9_of_the_harness_in_mid_turn_resumes_the_same_turn_once(
    harness: HarnessProcess, broker: FakeBroker
) -> None:
    harness.script(WAIT_FOR_GO)
    await harness.start()
    broker.post("x")
    await _waits(harness)
    await harness.kill()
    (harness.state / "go").touch()
    async with harness:
        end = await broker.ended()
        assert (end.turn, end.outcome) == ("1.1", "ok")
        assert [call[2]["body"] for call in broker.calls] == ["first", "second"]
        again = broker.hellos[-1].running
        assert again is not None
        assert again.turn == "1.1"
        assert again.handed == ("1.1:1",)
        assert broker.hellos[0].boot != broker.hellos[-1].boot


async def test_a_tool_call_that_was_cut_takes_effect_once(
    harness: HarnessProcess, broker: FakeBroker
) -> None:
    """The harness dies after the broker did the call and before the engine had its result."""
    answer = asyncio.Event()

    async def slow(_: object) -> str:
        await answer.wait()
        return "sent"

    broker.tools["send"] = slow  # type: ignore[assignment]
    await harness.start()
    broker.post("x")
    await broker.until(lambda: broker.calls)
    await harness.kill()
    answer.set()
    await broker.until(lambda: broker.stored)
    async with harness:
        assert (await broker.ended()).turn == "1.1"
        assert len(broker.calls) == 1
        assert broker.asked == ["1.1:1", "1.1:1"]


async def test_sigterm_leaves_a_running_turn_to_the_next_boot(
    harness: HarnessProcess, broker: FakeBroker
) -> None:
    harness.script(WAIT_FOR_GO)
    await harness.start()
    broker.post("x")
    await _waits(harness)
    assert await harness.stop() == 0
    assert broker.ends == []
    (harness.state / "go").touch()
    async with harness:
        assert (await broker.ended()).turn == "1.1"
        assert [call[2]["body"] for call in broker.calls] == ["first", "second"]


async def test_a_running_turn_that_does_not_stand_any_more_is_dropped(
    harness: HarnessProcess, broker: FakeBroker
) -> None:
    harness.script(WAIT_FOR_GO)
    await harness.start()
    broker.post("x")
    await _waits(harness)
    await harness.kill()
    (harness.state / "go").touch()  # or the shell outlives the test
    broker.resume = False
    broker._leased = None
    harness.script(ANSWER)
    async with harness:
        await broker.until(lambda: len(broker.hellos) == 2)
        broker.post("y")
        assert (await broker.ended()).turn == "2.1"
        assert [call[2]["body"] for call in broker.calls] == ["first", "re: y"]


async def test_the_turn_goes_on_while_the_broker_is_away(
    harness: HarnessProcess, broker: FakeBroker
) -> None:
    harness.script(WAIT_FOR_GO)
    async with harness:
        broker.post("x")
        await _waits(harness)
        await broker.stop()
        (harness.state / "go").touch()
        await asyncio.to_thread((harness.state / "waiting").unlink)
        await broker.start()
        assert (await broker.ended()).outcome == "ok"
        assert [call[2]["body"] for call in broker.calls] == ["first", "second"]
        assert len({hello.boot for hello in broker.hellos}) == 1
        numbers = [row.n for row in broker.rows]
        assert numbers == sorted(set(numbers))


async def test_a_turn_that_ends_while_a_hello_waits_for_its_answer_is_not_played_again(
    harness: HarnessProcess, broker: FakeBroker
) -> None:
    """The broker still says: go on with it."""
    harness.script(WAIT_FOR_GO.replace("touch waiting", "echo >> begun; touch waiting"))
    async with harness:
        broker.post("x")
        await _waits(harness)
        await broker.stop()
        broker.answers_hellos.clear()
        await broker.start()
        await broker.until(lambda: len(broker.hellos) == 2)
        (harness.state / "go").touch()
        async with asyncio.timeout(20):
            while not (harness.state / ".hive" / "ended" / "1.1.json").exists():
                await asyncio.sleep(0.01)
        broker.answers_hellos.set()
        assert (await broker.ended()).turn == "1.1"
        broker.post("y")
        assert (await broker.ended(2)).turn == "2.1"
        assert (harness.state / "begun").read_text().count("\n") == 2


async def test_a_terminal_event_that_was_not_confirmed_comes_with_the_next_hello(
    harness: HarnessProcess, broker: FakeBroker
) -> None:
    broker.forgets_ends = True
    await harness.start()
    broker.post("x")
    await broker.until(lambda: broker.unheard)
    await harness.kill()
    broker.forgets_ends = False
    async with harness:
        assert (await broker.ended()).turn == "1.1"
        assert [end.turn for end in broker.hellos[-1].ended] == ["1.1"]
        assert broker.hellos[-1].running is None
        assert len(broker.calls) == 1
        async with asyncio.timeout(10):
            while list((harness.state / ".hive" / "ended").iterdir()):
                await asyncio.sleep(0.01)


async def test_the_end_of_a_turn_survives_a_broker_that_comes_back(
    harness: HarnessProcess, broker: FakeBroker
) -> None:
    broker.forgets_ends = True
    async with harness:
        broker.post("x")
        await broker.until(lambda: broker.unheard)
        await broker.stop()
        broker.forgets_ends = False
        await broker.start()
        assert (await broker.ended()).turn == "1.1"
        broker.post("y")
        assert (await broker.ended(2)).turn == "2.1"
        assert [row.data["text"] for row in broker.rows if row.kind == "text"] == [
            "on it",
            "done",
        ] * 2


CANCEL = """
[[rule]]
body = "slow"
[[rule.step]]
run = "touch waiting; trap '' TERM INT; setsid sh -c 'trap \\"\\" TERM; touch detached; sleep 1000' & sleep 1000"
[[rule]]
[[rule.step]]
say = "quick"
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cancel", "interrupt"])
async def test_a_turn_is_ended_with_all_it_started(
    harness: HarnessProcess, broker: FakeBroker, how: str
) -> None:
    harness.script(CANCEL)
    broker.regrant = False
    async with harness:
        broker.post("slow")
        await _waits(harness)
        async with asyncio.timeout(20):
            while not (harness.state / "detached").exists():
                await asyncio.sleep(0.01)
        if how == "cancel":
            assert "1.1" in (await broker.call("command", command="cancel"))["text"]
        else:
            await broker.call("interrupt", turn="1.1")
        end = await broker.ended()
        wanted = ("cancelled", "") if how == "cancel" else ("failed", "stopped")
        assert (end.outcome, end.cause, end.counted) == (*wanted, False)
        assert _sleepers(harness) == []
        broker.post("fast")
        assert (await broker.ended(2)).outcome == "ok"


def _sleepers(harness: HarnessProcess) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (entry / "cwd").resolve() == harness.state and entry.name.isdigit():
                command = (entry / "cmdline").read_bytes().decode().replace("\0", " ")
                if "sleep 1000" in command:
                    found.append(command)
        except OSError:
            continue
    return found


async def test_clear_waits_for_no_running_turn(harness: HarnessProcess, broker: FakeBroker) -> None:
    harness.script(WAIT_FOR_GO)
    async with harness:
        broker.post("x")
        await _waits(harness)
        with pytest.raises(Exception, match="a turn runs"):
            await broker.call("command", command="clear")
        (harness.state / "go").touch()
        await broker.ended()


@pytest.mark.parametrize("how", ["cancel", "interrupt"])
async def test_the_end_names_calls_whose_results_the_engine_never_had(
    harness: HarnessProcess, broker: FakeBroker, how: str
) -> None:
    """A recv may have taken messages meanwhile: they must not count as read."""

    async def never(_: object) -> str:
        await asyncio.Event().wait()
        return ""

    harness.script(
        '[[rule]]\n[[rule.step]]\ntool = "send"\nargs = {}\n'
        '[[rule.step]]\ntool = "recv"\nargs = {}\n'
    )
    broker.tools["recv"] = never  # type: ignore[assignment]
    broker.regrant = False
    async with harness:
        broker.post("x")
        await broker.until(lambda: len(broker.calls) == 2)
        if how == "cancel":
            await broker.call("command", command="cancel")
        else:
            await broker.call("interrupt", turn="1.1")
        assert (await broker.ended()).unseen == ("1.1:2",)


async def test_what_the_agent_wrote_into_the_spool_keeps_no_broker_away(
    harness: HarnessProcess, broker: FakeBroker
) -> None:
    spool = harness.state / ".hive"
    (spool / "ended").mkdir(parents=True)
    (spool / "ended" / "9.1.json").write_text('{"turn": "9.1", "mood": "good"}')
    (spool / "running.json").write_text('{"turn": "the third"}')
    (spool / "session.json").write_text(json.dumps({"id": "s" * 300, "engine": "rehearsal"}))
    harness.script(ANSWER)
    async with harness:
        broker.post("x")
        end = await broker.ended()
    assert (end.turn, end.outcome) == ("1.1", "ok")
    assert (spool / "ended" / "9.1.json.bad").exists()


async def test_a_call_that_waits_while_the_harness_says_hello_is_no_lost_one(
    harness: HarnessProcess, broker: FakeBroker
) -> None:
    """Its answer may come first: a recv's messages would come again as turns."""
    answer = asyncio.Event()

    async def slow(_: object) -> str:
        await answer.wait()
        return "{}"

    harness.script('[[rule]]\n[[rule.step]]\ntool = "recv"\nargs = {}\n')
    broker.tools["recv"] = slow  # type: ignore[assignment]
    async with harness:
        broker.post("x")
        await broker.until(lambda: broker.calls)
        assert broker._peer is not None
        broker._peer.close()
        await broker.until(lambda: len(broker.hellos) == 2)
        again = broker.hellos[-1].running
        assert again is not None
        assert again.handed == ("1.1:1",)
        answer.set()
        assert (await broker.ended()).unseen == ()


async def test_another_engine_does_not_go_on_with_a_turn_that_was_cut(tmp_path: Path) -> None:
    """It knows nothing of what was done in it: all may be done again."""
    harness = HarnessProcess(tmp_path, engine_path=odd_engine(tmp_path / "odd"))
    harness.agent()
    harness.script(WAIT_FOR_GO)
    async with FakeBroker(harness.run) as broker:
        await harness.start()
        broker.post("x")
        await _waits(harness)
        await harness.kill()
        (harness.state / "go").touch()  # or the shell outlives the test
        harness.agent(engine="claude")
        async with harness:
            end = await broker.ended()
            assert (end.turn, end.cause, end.discarded) == ("1.1", "restarted", True)
            assert (await broker.ended(2)).outcome == "ok"


async def test_a_turn_that_removed_the_spool_ends_well(
    harness: HarnessProcess, broker: FakeBroker
) -> None:
    """As `git clean` in /state does."""
    harness.script('[[rule]]\n[[rule.step]]\nrun = "rm -rf .hive"\n' + ANSWER[9:])
    async with harness:
        for turn in ("1.1", "2.1"):
            broker.post("x")
            end = await broker.ended(int(turn[0]))
            assert (end.turn, end.outcome) == (turn, "ok")
        assert len(broker.hellos) == 1
        assert len(broker.calls) == 2


async def test_the_end_of_a_turn_waits_until_it_can_be_stored(
    harness: HarnessProcess, broker: FakeBroker
) -> None:
    """Played again it would be done twice."""
    harness.script('[[rule]]\n[[rule.step]]\nrun = "rmdir .hive/ended; touch .hive/ended"\n')
    async with harness:
        broker.post("x")
        await broker.until(
            lambda: any("cannot write" in s.get("detail", "") for s in broker.states)
        )
        assert broker.ends == []
        (harness.state / ".hive" / "ended").unlink()
        assert (await broker.ended()).outcome == "ok"
        await broker.state("idle")
    assert broker.granted == ["1.1"]
    assert len(broker.hellos) == 1


async def test_an_attempt_in_a_new_conversation_says_that_it_lacks_the_one_before(
    harness: HarnessProcess, broker: FakeBroker
) -> None:
    """The broker lets what was done in that be done again, then."""
    harness.script(WAIT_FOR_GO)
    broker.regrant = False
    async with harness:
        broker.post("x")
        await _waits(harness)
        await broker.call("interrupt", turn="1.1")
        assert not (await broker.ended()).discarded
        await broker.call("command", command="clear")
        (harness.state / "go").touch()
        for attempt in (2, 3):
            broker.post_again(1, "x", attempt)
            await broker.ended(attempt)
    told = [(end.turn, end.outcome, end.cause, end.discarded) for end in broker.ends]
    assert told[1:] == [("1.2", "failed", "restarted", True), ("1.3", "ok", "", False)]


@pytest.mark.parametrize("killed", [False, True])
async def test_an_attempt_in_the_same_conversation_goes_on(
    harness: HarnessProcess, broker: FakeBroker, killed: bool
) -> None:
    harness.script(WAIT_FOR_GO)
    if killed:  # before it noted whose turn began
        await harness.start()
        broker.post("x")
        await _waits(harness)
        await harness.kill()
        session = harness.state / ".hive" / "session.json"
        session.write_text(json.dumps({**json.loads(session.read_text()), "message": ""}))
        (harness.state / "waiting").unlink()
    async with harness:
        if not killed:
            broker.post("x")
        await _waits(harness)
        await broker.call("interrupt", turn="1.1")
        (harness.state / "go").touch()
        end = await broker.ended(2)
    assert (end.turn, end.outcome, end.discarded) == ("1.2", "ok", False)
