"""What outlives the process: memory, suspensions, ports."""

import json
from dataclasses import replace
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plans import NOW, TOOLS, desired, recalled, running, uid, valid

from hive_reconciler.core.memory_files import ALLOWED, Kept, MemoryFiles
from hive_reconciler.core.planner import plan
from hive_reconciler.core.ports import Ports, choose, hashed
from hive_reconciler.core.recall import LONGEST_WAIT, waits
from hive_reconciler.core.suspensions import SWARM, Suspension, Suspensions
from hive_reconciler.model.desired import Valid
from hive_reconciler.model.memory import AgentMemory, Failure, Memory
from hive_wire.names import is_name
from hive_wire.spec import AgentSpec

UID = "abcdefabcdef"
MEMORY = AgentMemory(
    good=Valid(AgentSpec(uid=UID, may_send_to=("hm1nd",)), "be good\n", "r1", "t" * 40),
    name="scout",
    ran=Valid(AgentSpec(uid=UID), "", "r0", "t" * 40),
    expected=True,
    failure=Failure("r1", "Failed", "no cgroup", False),
    failures=3,
    retry_at=12.5,
    crashes=(1.0, 2.0),
    crash_retry_at=20.0,
    crashed_revision="r1",
    quarantined=True,
)


def test_memory_comes_back_but_for_what_is_observed(tmp_path):
    MemoryFiles(tmp_path / "memory").save(Kept({UID: MEMORY}, frozenset({UID})))
    kept = MemoryFiles(tmp_path / "memory").load()
    assert kept.agents == {UID: replace(MEMORY, ran=None, expected=False)}
    assert kept.may_destroy == {UID}


def test_what_is_written_is_what_changed(tmp_path):
    files, other = MemoryFiles(tmp_path), "b" * 12
    files.save(Kept({UID: MEMORY, other: MEMORY}))
    files = MemoryFiles(tmp_path)
    agents = files.load().agents
    before = {path.name: path.stat().st_ino for path in tmp_path.iterdir()}
    files.save(Kept({UID: replace(agents[UID], failures=4), other: replace(MEMORY, ran=None)}))
    after = {path.name: path.stat().st_ino for path in tmp_path.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {f"{UID}.json"}
    files.save(Kept({other: MEMORY}))
    assert [path.name for path in tmp_path.iterdir()] == [f"{other}.json"]


def test_what_was_not_written_is_written_later(tmp_path, monkeypatch):
    files = MemoryFiles(tmp_path)
    with monkeypatch.context() as full:
        full.setattr("tempfile.mkstemp", Mock(side_effect=OSError("No space left on device")))
        with pytest.raises(OSError, match="No space"):
            files.save(Kept({UID: MEMORY}))
    files.save(Kept({UID: MEMORY}))
    assert MemoryFiles(tmp_path).load().agents


def test_a_spec_that_was_superseded_does_not_stay_on_a_full_disk(tmp_path, monkeypatch):
    files, other = MemoryFiles(tmp_path), "b" * 12
    files.save(Kept({UID: MEMORY, other: MEMORY}))
    newer = replace(MEMORY, good=Valid(AgentSpec(uid=UID), "be better\n", "r2", "t" * 40))
    with monkeypatch.context() as full:
        full.setattr("tempfile.mkstemp", Mock(side_effect=OSError("No space left on device")))
        with pytest.raises(OSError, match="No space"):
            files.save(Kept({UID: newer, other: MEMORY}))
    assert MemoryFiles(tmp_path).load().agents.keys() == {other}
    files.save(Kept({UID: newer, other: MEMORY}))
    assert MemoryFiles(tmp_path).load().agents[UID].good == newer.good


@pytest.mark.parametrize("text", ["", "{", "[]", '{"failures": "many"}', "null", "\0"])
def test_a_bad_file_costs_only_the_memory_of_its_agent(tmp_path, text):
    files = {UID: MEMORY, "b" * 12: MEMORY}
    MemoryFiles(tmp_path).save(Kept(files, frozenset({UID})))
    for name in (f"{UID}.json", ALLOWED, "etc.json", "UPPERCASE000.json"):
        (tmp_path / name).write_text(text)
    kept = MemoryFiles(tmp_path).load()
    assert list(kept.agents) == ["b" * 12]
    assert MemoryFiles(tmp_path / "none").load() == Kept()


def test_suspensions_come_back(tmp_path):
    path = tmp_path / "suspended.json"
    first = Suspensions(path)
    assert first.set(UID, Suspension("ann", "looks into it", 5.0))
    again = Suspensions(path)
    again.load()
    assert again.found == first.found
    assert "ann" in again.words()[UID]
    assert "looks into it" in again.words()[UID]
    assert again.set(UID, None)
    assert not again.set(UID, None)
    assert json.loads(path.read_text()) == {}


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": {"by": "x"}}'])
def test_a_bad_file_suspends_all_until_resumed(tmp_path, text):
    path = tmp_path / "suspended.json"
    path.write_text(text)
    found = Suspensions(path)
    found.load()
    assert "hive resume" in found.words()[SWARM]
    assert found.set(SWARM, None)
    found.load()
    assert not found.found


@pytest.mark.parametrize("key", [uid("scout"), SWARM])
def test_nothing_is_done_to_a_suspended_agent(key):
    before, after = valid(revision="r1"), valid(revision="r2", restarts=1)
    seen = (running("scout", before),)
    memory = recalled({"scout": before})
    assert plan(desired({"scout": after}), seen, memory, TOOLS, NOW).changes
    held = Memory(memory.agents, frozenset(), {key: "suspended by ann: why not"})
    for wanted in ({"scout": after}, {}):
        made = plan(desired(wanted, allow_prune=9), seen, held, TOOLS, NOW)
        assert not made.changes
        assert [b.reason for b in made.blocked] == ["Suspended"]
        assert "ann" in made.blocked[0].message


@given(st.floats(-1e6, 1e10), st.floats(0, 1e10))
def test_no_clock_makes_a_retry_wait_longer_than_it_can(due, now):
    assert not waits(due, now) or 0 < due - now <= LONGEST_WAIT + 1


# -- ports ---------------------------------------------------------------------------


def test_the_hash_is_fnv_1a():
    assert hashed("") == 8100 + 0x811C9DC5 % 900
    assert hashed("a") == 8100 + 0xE40C292C % 900
    assert hashed("foobar") == 8100 + 0xBF9CF968 % 900


names = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True).filter(is_name)


@given(names, st.frozensets(st.integers(8100, 8999)))
def test_a_port_is_the_next_free_one(name, claimed):
    port = choose(name, claimed)
    between = {8100 + (hashed(name) - 8100 + i) % 900 for i in range((port - hashed(name)) % 900)}
    assert port not in claimed
    assert between <= claimed


def test_a_full_range_has_no_port():
    assert choose("scout", frozenset(range(8100, 9000))) is None


def test_ports_stick(layout):
    agents = {f"{i:012d}": (f"a{i}", "agent") for i in range(60)}
    agents["m" * 12] = ("hm1nd", "manager")
    first = dict(Ports(layout).of(agents))
    assert first["m" * 12] == 8000
    assert len(set(first.values())) == 61
    assert first == Ports(layout).of(dict(reversed(agents.items())))
    fewer = {u: a for u, a in agents.items() if u != "0" * 12}
    assert Ports(layout).of(fewer).items() <= first.items()
    layout.agent("0" * 12).joinpath("port").write_text("80\n")
    assert Ports(layout).of(agents)["0" * 12] in range(8100, 9000)
