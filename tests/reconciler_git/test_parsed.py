"""Agents that were read outlive the process, and are never a reason to read what git does not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from hive_reconciler.git.parsed import LINE, SPARE, Parsed
from hive_reconciler.model.desired import Invalid, Valid
from hive_wire.spec import AgentSpec

HERE = "digest"


def agent(number: int, revision: str = "r1") -> Valid:
    spec = AgentSpec(uid=f"{number:012d}", description="reads the news", may_send_to=("hm1nd",))
    return Valid(spec, "be good\n", revision, f"{number:040d}", nix_applied=number % 2 == 0)


def keep(parsed: Parsed, agents: list[Valid], shared: str = HERE) -> None:
    parsed.keep(shared, agents, {agent.tree: agent for agent in agents})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "parsed.log"


def test_an_agent_comes_back_as_it_was(path: Path) -> None:
    agents = [agent(number) for number in range(LINE + 5)]
    keep(Parsed(path), agents)
    again = Parsed(path)
    assert [again.get(HERE, one.tree) for one in agents] == agents
    assert again.get(HERE, "f" * 40) is None
    assert again.get("another", agents[0].tree) is None


def test_what_is_bad_in_git_is_read_again(path: Path) -> None:
    Parsed(path).keep(HERE, [Invalid((), "0" * 40)], {})
    assert Parsed(path).get(HERE, "0" * 40) is None


def test_a_file_with_all_that_can_be_wrong_gives_what_is_right(path: Path) -> None:
    first, second = agent(1), agent(2)
    keep(Parsed(path), [first])
    good = path.read_bytes()
    keep(Parsed(path), [second], "of another time")
    half = good.replace(b"be good", b"be evil")
    path.write_bytes(b"\n{}\nx y z\n" + half + path.read_bytes() + good[:-9])
    again = Parsed(path)
    assert again.get(HERE, first.tree) == first
    assert again.get(HERE, second.tree) is None


def test_the_file_does_not_grow_for_ever(path: Path) -> None:
    parsed, size = Parsed(path), 0
    for number in range(SPARE * 3):
        assert parsed.get(HERE, agent(number).tree) is None
        parsed.keep(HERE, [agent(number)], {"scout": agent(number)})
        size = max(size, path.stat().st_size)
    assert path.stat().st_size < size
    assert size < 2 * SPARE * 600
    assert Parsed(path).get(HERE, agent(SPARE * 3 - 1).tree) is not None
