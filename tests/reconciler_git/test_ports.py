"""Web ports are given by the reconciler: no commit can ask for one, and no two agents get the same."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.git_work import Clone, git

from hive_reconciler.core.ports import COUNT, Ports, hashed
from hive_reconciler.git.hive import Hive
from hive_reconciler.model.desired import Desired, Valid
from hive_wire.paths import Layout
from hive_wire.terms import Role


def named_alike(count: int) -> list[str]:
    """Names that would have the same port if they were alone."""
    found: dict[int, list[str]] = {}
    for letters in itertools.product("abcdefghij", repeat=4):
        alike = found.setdefault(hashed("".join(letters)), [])
        alike.append("".join(letters))
        if len(alike) == count:
            return alike
    raise AssertionError("too few names")


def given_out(desired: Desired, layout: Layout) -> dict[str, int]:
    roles: dict[str, tuple[str, Role]] = {
        entry.spec.uid or "": (name, entry.spec.role)
        for name, entry in desired.agents.items()
        if isinstance(entry, Valid)
    }
    found = Ports(layout).of(roles)
    return {name: found[uid] for uid, (name, _) in roles.items()}


async def pushed(hive: Hive, layout: Layout, clone: Clone, topic: str) -> int:
    git(clone.path, "push", "-q", str(layout.inbox_git), f"HEAD:refs/heads/proposed/{topic}")
    (done,) = await hive.import_inbox()
    assert done.state == "open", done.message
    return done.n


async def test_agents_of_one_port_that_are_merged_at_once_get_different_ones(
    hive: Hive, layout: Layout, clone: Clone
) -> None:
    """In one proposal, and in two that know nothing of each other."""
    first, second, third = names = named_alike(3)
    for topic, together in (("two", (first, second)), ("one", (third,))):
        git(clone.path, "reset", "-q", "--hard", "applied/applied")
        for name in together:
            clone.write(f"agents/{name}/agent.toml", 'description = "x"\n')
            clone.write(f"agents/{name}/prompt.md", "x\n")
        clone.commit()
        await pushed(hive, layout, clone, topic)
    for proposal in await hive.proposals("open"):
        assert proposal.effect is not None
        await hive.approve(proposal.n, proposal.effect.digest, "ada")
    ports = await asyncio.to_thread(given_out, await hive.read(), layout)
    assert len({ports[name] for name in names}) == 3
    assert await asyncio.to_thread(given_out, await hive.read(), layout) == ports, "they stick"


@pytest.mark.parametrize("path", ["agents/hm1nd/agent.toml", "hive.toml"])
async def test_no_file_has_a_port(hive: Hive, layout: Layout, clone: Clone, path: str) -> None:
    clone.change(path, "web_port = 8123\n" + clone.read(path))
    git(clone.path, "push", "-q", str(layout.inbox_git), "HEAD:refs/heads/proposed/port")
    (done,) = await hive.import_inbox()
    assert done.state == "rejected"
    assert "web_port: is no key here" in done.message


@given(st.lists(st.from_regex(r"[a-z]{1,3}", fullmatch=True), unique=True, max_size=30), st.data())
def test_any_agents_in_any_order_have_ports_of_their_own(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], data: st.DataObject
) -> None:
    assert len(names) < COUNT
    layout = Layout.of(Path(tmp_path_factory.mktemp("ports")) / "root")
    ports, there = Ports(layout), dict[str, tuple[str, Role]]()
    before: dict[str, int] = {}
    while names:
        some = data.draw(st.integers(1, len(names)))
        there |= {f"u{name}": (name, "agent") for name in names[:some]}
        names = names[some:]
        found = dict(ports.of(there))
        assert len(set(found.values())) == len(there)
        assert before.items() <= found.items()
        before = found
