from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hive_harness.calls import CallBook
from hive_harness.engine.sessions import Sessions
from hive_harness.shapes import is_end
from hive_harness.spool import Call, Calls, Session, Spool, SpoolBusy
from hive_harness.verdict import LATEST, MOST, Usage, Verdict
from hive_wire.frames import MAX_FRAME, encode
from hive_wire.protocol import TurnEnd


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / ".hive")
    spool.open()
    return spool


def test_one_owner(spool: Spool, tmp_path: Path) -> None:
    with pytest.raises(SpoolBusy, match="one session has one harness"):
        Spool(tmp_path / ".hive").open()


def test_a_turn_from_begin_to_confirmation(spool: Spool) -> None:
    assert spool.running() is None
    spool.begin("7.1")
    spool.note_call(Call("7.1:1", "d", "t1"))
    assert spool.running() == "7.1"
    spool.end({"turn": "7.1", "outcome": "ok"})
    assert spool.running() is None
    assert spool.ended() == [{"turn": "7.1", "outcome": "ok"}]
    spool.confirm("7.1")
    spool.confirm("7.1")
    assert spool.ended() == []


def test_a_kill_between_the_event_and_the_forgetting_of_the_turn(
    spool: Spool, tmp_path: Path
) -> None:
    spool.begin("7.1")
    running = (tmp_path / ".hive" / "running.json").read_bytes()
    spool.end({"turn": "7.1", "outcome": "ok"})
    (tmp_path / ".hive" / "running.json").write_bytes(running)
    assert spool.running() is None


def test_what_an_end_claims_is_claimed_once_though_a_kill_cut_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path / ".hive")
    spool.owe(0.5, Usage(input_tokens=7))
    spool.begin("7.1")
    (tmp_path / ".hive" / "ended").mkdir()
    (tmp_path / ".hive" / "ended" / "7.1.json").write_text("{}")
    spool.open()
    assert spool.owed() == (0.0, Usage())


@pytest.mark.parametrize("runs", [False, True])
def test_what_no_end_claimed_is_owed_in_the_next_boot(tmp_path: Path, runs: bool) -> None:
    spool = Spool(tmp_path / ".hive")
    spool.owe(0.5, Usage(input_tokens=7))
    if runs:
        spool.begin("7.1")
    spool.open()
    assert spool.owed() == (0.5, Usage(input_tokens=7))


def test_calls_are_kept_for_the_same_turn_only(spool: Spool) -> None:
    spool.begin("7.1")
    first, second = Call("7.1:1", "a", "t1"), Call("7.1:2", "b", "t2")
    spool.note_call(first)
    spool.note_call(second)
    spool.begin("7.1")
    assert spool.calls() == Calls((first, second))
    assert spool.calls().last == 2
    spool.begin("7.2")
    assert spool.calls().last == 0


def test_what_the_agent_broke_counts_as_absent(spool: Spool, tmp_path: Path) -> None:
    spool.save_session(Session("s", "claude"))
    spool.begin("7.1")
    for name in ("session.json", "running.json", "calls.jsonl", "ended/9.1.json"):
        (tmp_path / ".hive" / name).write_bytes(b'{"id": \xff[')
    assert (spool.session(), spool.running(), spool.ended()) == (None, None, [])
    assert spool.calls().last == 0
    (tmp_path / ".hive" / "ended" / "9.1.json").write_text('{"turn": "8.1"}')
    assert spool.ended() == []


class Memory:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def note_call(self, call: Call) -> None:
        self.calls.append(call.name)


TOOLS = st.tuples(st.sampled_from(["send", "recv"]), st.sampled_from(["a", "b"]))


@given(st.lists(TOOLS, max_size=20), st.integers(0, 20), st.integers(0, 20), st.booleans())
def test_a_call_repeated_after_a_crash_keeps_its_name(
    calls: list[tuple[str, str]], seen: int, kept: int, progressed: bool
) -> None:
    """The engine dies after `seen` results, of which `kept` are on disk, and makes the same
    calls again from there."""
    book = CallBook("7.1", Memory())
    names = [book.name(tool, {"x": x}, f"t{n}") for n, (tool, x) in enumerate(calls)]
    assert names == [f"7.1:{n}" for n in range(1, len(calls) + 1)]
    for name in names[:seen]:
        book.answered(name)
    if progressed:
        book.progressed()
    kept = min(kept, seen, len(calls))
    book.engine_lost({f"t{n}" for n in range(kept)})
    assert book.unseen == tuple(names[kept:])
    again = [book.name(tool, {"x": x}, f"u{n}") for n, (tool, x) in enumerate(calls[kept:])]
    assert again == names[kept:]
    assert book.name("send", {"x": "new"}, "u") == f"7.1:{len(calls) + 1}"


def test_the_same_call_twice_is_two_calls() -> None:
    book = CallBook("7.1", Memory())
    assert book.name("send", {"x": 1}, "t1") != book.name("send", {"x": 1}, "t2")


def test_handed_is_what_a_living_engine_was_told_or_is_yet_to_be(spool: Spool) -> None:
    """A call that waits is asked again by its name: else its answer, on its way while a hello
    is, would count as never heard."""
    spool.begin("7.1")
    book = CallBook("7.1", spool)
    first, second = book.name("send", 1, "t1"), book.name("send", 2, "t2")
    assert book.handed == (first, second)
    book.answered(first)
    book.progressed()
    book.answered(second)
    assert book.handed == (first, second)
    book.engine_lost({"t1"})
    assert book.handed == (first,)
    assert book.name("send", 2, "t2") == second
    assert book.handed == (first, second)
    resumed = CallBook("7.1", spool, spool.calls(), {"t1"})
    assert resumed.handed == (first,)
    assert resumed.name("send", 2, "t3") == second
    assert resumed.name("send", 1, "t4") == "7.1:3"
    assert CallBook("7.1", spool, spool.calls(), {"t2", "t3"}).handed == (second,)


def test_an_answer_that_comes_when_the_engine_is_gone_is_handed_to_nobody() -> None:
    book = CallBook("7.1", Memory())
    lost = book.name("recv", 1, "t1")
    book.engine_lost(frozenset())
    book.answered(lost)
    book.progressed()
    assert book.unseen == (lost,)


def test_calls_that_an_older_version_wrote_down_are_known(spool: Spool) -> None:
    """Else their names would be given again, to other calls."""
    spool.begin("7.1")
    old = {"call": "7.1:4", "digest": "d"}
    (spool._dir / "calls.jsonl").write_text(json.dumps(old) + "\n")
    assert spool.calls() == Calls((Call("7.1:4", "d", ""),))


ODD_ROWS: list[object] = [None, [], {"message": 1}, {"message": {"content": "tool_result"}}]


def test_results_are_those_that_the_transcript_has(spool: Spool, tmp_path: Path) -> None:
    sessions = Sessions(spool, tmp_path)
    assert sessions.results({"t1"}) == frozenset()  # there is no session
    transcript = tmp_path / "projects" / "-state" / f"{sessions.renew('claude').id}.jsonl"
    assert sessions.results({"t1"}) == frozenset()
    results = [{"type": "tool_result", "tool_use_id": f"t{n}", "content": "x"} for n in (1, 2, 3)]
    stopped = [{**results[0], "tool_use_id": "t4", "is_error": True}]
    words = [{"type": "text", "text": json.dumps(results[1])}]
    calls = [{"type": "tool_use", "id": "t2", "name": "tool_result"}]
    rows = [*ODD_ROWS, *({"message": {"content": c}} for c in (results[:1], words, calls, stopped))]
    cut = json.dumps({"message": {"content": results[2:]}})[:-1]
    transcript.parent.mkdir(parents=True)
    transcript.write_text("\n".join([*map(json.dumps, rows), cut]))
    assert sessions.results({"t1", "t2", "t3", "t4"}) == {"t1"}


def test_a_transcript_that_cannot_be_read_has_nothing(spool: Spool, tmp_path: Path) -> None:
    sessions = Sessions(spool, tmp_path)
    session = sessions.renew("claude")
    (tmp_path / "projects" / "-state" / f"{session.id}.jsonl").mkdir(parents=True)
    assert sessions.results({"t1"}) == frozenset()
    assert not sessions.holds(session, "u1")


def test_an_end_that_is_gone_when_it_is_looked_at_is_none(spool: Spool) -> None:
    """Confirmed meanwhile, or put there by the agent."""
    spool.end({"turn": "7.1", "outcome": "ok"})
    (spool._dir / "ended" / "8.1.json").symlink_to("nowhere")
    assert spool.ended() == [{"turn": "7.1", "outcome": "ok"}]


SOUND = {"turn": "9.1", "outcome": "ok"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"turn": "9.1"},
        {**SOUND, "turn": "9"},
        {**SOUND, "outcome": "fine"},
        {**SOUND, "outcome": ["ok"]},
        {**SOUND, "mood": "good"},
        {**SOUND, "session": "s" * 201},
        {**SOUND, "cause": "c" * 201},
        {**SOUND, "detail": "d" * 4001},
        {**SOUND, "usage": []},
        {**SOUND, "usage": {"input_tokens": -1}},
        {**SOUND, "usage": {"thoughts": 1}},
        {**SOUND, "cost_usd": float("nan")},
        {**SOUND, "cost_usd": "much"},
        {**SOUND, "retry_at": 1e300},
        {**SOUND, "context": 1 << 60},
        {**SOUND, "unseen": [1]},
        {**SOUND, "unseen": "9.1:1"},
        [SOUND],
        None,
    ],
)
def test_an_end_that_the_broker_would_not_take_is_set_aside(spool: Spool, wrong: object) -> None:
    """It refuses the whole hello for one."""
    with pytest.raises(ValidationError):
        TurnEnd.model_validate(wrong)
    name = wrong.get("turn") if isinstance(wrong, dict) else "9.1"
    path = spool._dir / "ended" / f"{name}.json"
    path.write_text(json.dumps(wrong))
    spool.end({"turn": "7.1", "outcome": "ok"})
    assert spool.ended() == [{"turn": "7.1", "outcome": "ok"}]
    assert path.with_name(f"{path.name}.bad").read_text() == json.dumps(wrong)
    assert not path.exists()


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.lists(st.sampled_from(["9.1:1", "x"]), max_size=2),
    st.dictionaries(st.sampled_from(["input_tokens", "x"]), st.integers(), max_size=2),
    st.sampled_from(["ok", "failed", "9.1", "s-1", "s" * 201, "d" * 4001]),
)


@given(st.dictionaries(st.sampled_from(sorted(TurnEnd.model_fields)), JUNK))
def test_the_broker_takes_every_end_that_is_not_set_aside(more: dict[str, object]) -> None:
    event = {**SOUND, **more}
    if is_end(event):
        TurnEnd.model_validate(event)


def test_each_end_of_a_turn_is_one(spool: Spool) -> None:
    """With all that a verdict can say."""
    usage = Usage(MOST + 1, 0, 1, 2)
    verdict = Verdict("failed", "rate_limit", "x" * 9999, LATEST, True, usage, 1e300, MOST + 1)
    event = verdict.as_turn_end("7.1", None, ("7.1:1", "7.1:12"))
    spool.end(event)
    assert spool.ended() == [event]


def test_what_the_agent_wrote_makes_no_hello_too_long(spool: Spool) -> None:
    for number in range(1, 101):
        event = {"turn": f"{number}.1", "outcome": "ok", "detail": "\U0001f41d" * 4000}
        (spool._dir / "ended" / f"{number}.1.json").write_text(json.dumps(event))
    ended = spool.ended()
    assert 1 < len(ended) < 100
    assert len(encode({"ended": ended})) < MAX_FRAME // 2


@pytest.mark.parametrize("ident", ["s" * 201, "", "-p", "a b", "../x", "a\0b"])
def test_a_session_of_a_wrong_name_is_none(spool: Spool, ident: str) -> None:
    spool.save_session(Session(ident, "claude"))
    assert spool.session() is None


def test_names_of_turns_and_calls_are_such(spool: Spool, tmp_path: Path) -> None:
    (tmp_path / ".hive" / "running.json").write_text('{"turn": "../\\u0000"}')
    assert spool.running() is None
    spool.begin("7.1")
    rows = [{"call": "x", "digest": "d"}, {"call": "7.1:2", "digest": "d"}, {"handed": "y" * 99}]
    (tmp_path / ".hive" / "calls.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert spool.calls() == Calls((Call("7.1:2", "d", ""),))


def test_what_no_engine_has_at_the_end_of_a_turn_is_known() -> None:
    book = CallBook("7.1", Memory())
    kept, lost, late = (book.name("recv", n, f"t{n}") for n in range(3))
    book.answered(kept)
    book.progressed()
    book.answered(lost)
    assert book.unseen == (lost, late)
    book.engine_lost({"t0"})
    assert book.unseen == (lost, late)
    assert book.name("recv", 1, "t4") == lost  # it is asked again
    book.answered(lost)
    book.progressed()
    assert book.unseen == (late,)


def test_two_changes_of_a_session_at_the_same_time_are_both_kept(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine went on under another id in the turn that ends."""
    sessions = Sessions(spool, tmp_path)
    sessions.renew("claude")
    saving, go, save = threading.Event(), threading.Event(), spool.save_session

    def slow(session: Session) -> None:
        saving.set()
        go.wait(10)
        save(session)

    monkeypatch.setattr(spool, "save_session", slow)
    with ThreadPoolExecutor(2) as threads:
        ended = threads.submit(sessions.turn_ended, ok=True, context=1, window=2, at=3.0)
        saving.wait(10)
        moved = threads.submit(sessions.moved, "another")
        wait([moved], 0.2)
        go.set()
        ended.result(10)
        moved.result(10)
    kept = spool.session()
    assert kept is not None
    assert (kept.id, kept.turns) == ("another", 1)
