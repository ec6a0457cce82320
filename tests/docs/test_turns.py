"""docs/turns.md names what the code does: each state, each cause and its state, each command."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from hive_harness import verdict
from hive_harness.conductor import HELP
from hive_harness.engine.version import OLDEST, TESTED, text
from hive_harness.states import Doing
from hive_wire.protocol import AgentState

TREE = Path(__file__).parents[2]
PAGE = (TREE / "docs/turns.md").read_text()


def rows(head: str) -> Iterator[list[str]]:
    """Cells of the table whose first column is called `head`, without backticks."""
    _, _, rest = PAGE.partition(f"| {head} |")
    for line in rest.split("\n\n", 1)[0].splitlines()[2:]:
        yield [cell.strip().strip("`") for cell in line.strip("|").split("|")]


def test_every_state_says_what_to_do() -> None:
    assert [row[0] for row in rows("state")] == list(get_args(AgentState))
    assert all(all(row) for row in rows("state"))


def causes() -> set[str]:
    """Of docs/protocol.md, which binds broker and harness."""
    (line,) = re.findall(r"\*\*Causes\*\*.*", (TREE / "docs/protocol.md").read_text())
    named = re.findall(r"[Cc]ounted: `([^`]*)`", line)
    return {cause for names in named for cause in names.split()}


def test_every_cause_has_its_state() -> None:
    found = {cause: (counted, state) for cause, counted, state, _ in rows("cause")}
    assert found.keys() == causes()
    for cause, (counted, state) in found.items():
        assert counted == ("yes" if cause in verdict.COUNTED else "no"), cause
        assert Doing().turn_ended(verdict.failed(cause, "x")).badge.state == state, cause


def test_every_command_is_explained() -> None:
    told = set(re.findall(r"^(/[a-z-]+)", HELP, re.MULTILINE))
    assert {row[0].split()[0] for row in rows("command")} == told


def test_the_versions_of_the_cli_are_those_that_are_tested() -> None:
    page = (TREE / "docs/operating.md").read_text()
    named = re.findall(r"\b\d+\.\d+\.\d{2,}\b", page)
    assert set(named) == {*map(text, (*TESTED, OLDEST))}
    assert f"claude-code@{text(TESTED[-1])}`" in (TREE / "README.md").read_text()
