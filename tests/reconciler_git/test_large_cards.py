"""A proposal about a large swarm is read in one answer, and says what it leaves out."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.git_work import Clone, git
from support.many_agents import populate

from hive_reconciler.app.cards import card
from hive_reconciler.app.commands.review import _whole, proposal_text
from hive_reconciler.core.containers import Toolchain
from hive_reconciler.core.picture import Picture
from hive_reconciler.git import diffs, previews
from hive_reconciler.git.errors import Conflict
from hive_reconciler.git.hive import Hive
from hive_reconciler.git.views import Part
from hive_reconciler.model import checks
from hive_reconciler.model.desired import Valid
from hive_reconciler.model.effect import Effect
from hive_reconciler.model.proposal import Requester
from hive_wire.frames import MAX_FRAME, encode
from hive_wire.paths import Layout

pytestmark = pytest.mark.slow
COUNT = 1000
TOOLS = Toolchain("t1", ("python3",), (), ())


class Builds:
    async def of(self, _n: int) -> None:
        return None


async def shown(hive: Hive, n: int) -> dict[str, Any]:
    """As it comes out of a frame."""
    picture = Picture(toolchain=TOOLS, desired=await hive.read())
    picture.see(())
    frame = encode(await card(SimpleNamespace(hive=hive, picture=picture), Builds(), n))  # type: ignore[arg-type]
    assert len(frame) < MAX_FRAME * 0.95, "an answer has other keys beside it"
    return dict(json.loads(frame))


async def effect_of(hive: Hive, n: int) -> Effect:
    found = (await hive.proposal(n)).effect
    assert found is not None
    return found


@pytest.fixture
async def many(hive: Hive, layout: Layout, tmp_path: Path) -> Clone:
    await hive.accept(await hive._thread.run(populate, hive, COUNT), "a test", "the test's")
    await hive.read()
    return Clone(layout.hive_git, tmp_path / "many")


async def pushed(hive: Hive, layout: Layout, clone: Clone, topic: str) -> int:
    git(clone.path, "push", "-q", str(layout.inbox_git), f"HEAD:refs/heads/proposed/{topic}")
    (done,) = await hive.import_inbox()
    assert done.state == "open", done.message
    return done.n


async def test_a_change_of_all_agents_fits(hive: Hive, layout: Layout, many: Clone) -> None:
    keys = 'description = "one of many"\nmodel = "claude-opus-4"\nrestarts = 7\nstate = "stopped"\n'
    keys += f"may_send_to = {json.dumps([f'a{n}' for n in range(60)])}\n"
    many.change("hive.toml", many.read("hive.toml").replace("[defaults]\n", f"[defaults]\n{keys}"))
    n = await pushed(hive, layout, many, "all")
    whole, found = await effect_of(hive, n), await shown(hive, n)
    effect = found["effect"]
    assert effect["digest"] == whole.digest
    assert effect["changes"][0]["risk"] == "high"
    for key, all_ in (("changes", whole.changes), ("actions", whole.actions)):
        assert 100 < len(effect[key]) < len(all_)
        assert len(effect[key]) + sum(effect["left_out"][key].values()) == len(all_)
    text = proposal_text(found)
    assert f"… and {effect['left_out']['actions']['stop']} more to stop" in text
    assert text.endswith(f"hive approve {n} --expect {whole.digest}")
    with pytest.raises(Conflict, match="another by now") as refused:
        await hive.approve(n, "0" * 64, "ada")
    assert len(encode(refused.value.data)) < MAX_FRAME * 0.95
    await hive.approve(n, whole.digest, "ada")


def other_model(clone: Clone, agents: range) -> None:
    for n in agents:
        path = f"agents/a{n}/agent.toml"
        clone.write(path, clone.read(path) + 'model = "claude-opus-4"\n')
    clone.commit()


async def whole(hive: Hive, n: int, part: Part) -> list[dict[str, Any]]:
    """As `hive show` reads it, page by page, each of which fits a frame."""
    rows: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = await hive.part(n, part, after)
        assert len(encode(page)) < MAX_FRAME * 0.95
        assert page["digest"] == (await effect_of(hive, n)).digest
        rows += page["rows"]
        after = page["next"]
    return rows


class Calls:
    """host.sock, without the socket."""

    def __init__(self, hive: Hive) -> None:
        self._hive, self._loop = hive, asyncio.get_running_loop()

    def call(self, method: str, **params: Any) -> Any:
        asked = (
            shown(self._hive, params["n"])
            if method == "proposal"
            else self._hive.part(params["n"], params["part"], params.get("after", 0))
        )
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result()


async def test_another_model_for_each_of_all_agents_is_shown_whole_and_merged(
    hive: Hive, layout: Layout, many: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffs, "ROOM", 100 << 10)
    await asyncio.to_thread(other_model, many, range(COUNT))
    n = await pushed(hive, layout, many, "model")
    effect, found = await effect_of(hive, n), await shown(hive, n)
    assert found["effect"]["left_out"]["changes"]
    assert found["diff_left_out"]
    text = proposal_text(await asyncio.to_thread(_whole, Calls(hive), n))  # type: ignore[arg-type]
    assert "more of" not in text
    assert "see git" not in text
    assert all(f"\nchanged agents/a{k}/agent.toml (+1 -0)\n" in text for k in range(COUNT))
    assert all(f"  → update a{k}: " in text for k in range(COUNT))
    parts: tuple[Part, ...] = ("changes", "actions", "diff")
    changes, actions, files = [await whole(hive, n, part) for part in parts]
    assert [row["text"] for row in changes] == [change.text for change in effect.changes]
    assert [row["agent"] for row in actions] == [action.agent for action in effect.actions]
    assert [file["path"] for file in files] == [file.path for file in effect.files]
    assert len(files) == COUNT
    for file in files:
        added = [row["text"] for hunk in file["hunks"] for row in hunk if row["kind"] == "+"]
        assert added == ['model = "claude-opus-4"']
    await hive.approve(n, effect.digest, "ada")
    spec = (await hive.read()).agents["a999"]
    assert isinstance(spec, Valid)
    assert spec.spec.model == "claude-opus-4"


async def test_more_than_a_person_looks_through_is_refused_with_what_to_do(
    hive: Hive, layout: Layout, many: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "IN_ALL", replace(checks.IN_ALL, files=100))
    monkeypatch.setattr(previews, "_COMPARED_IN_ALL", 250)
    for count, said in ((101, "writes 101 files; 100 is the most at once"), (300, "more than 250")):
        git(many.path, "reset", "-q", "--hard", "applied/applied")
        await asyncio.to_thread(other_model, many, range(count))
        git(many.path, "push", "-q", str(layout.inbox_git), f"HEAD:refs/heads/proposed/x{count}")
        (done,) = await hive.import_inbox()
        assert done.state == "rejected"
        assert said in done.message
        assert "[defaults] of hive.toml" in done.message


async def test_an_agent_may_not_ask_for_what_only_all_agents_need(
    hive: Hive, manager: Requester, layout: Layout, many: Clone
) -> None:
    await asyncio.to_thread(other_model, many, range(COUNT))
    oid = git(many.path, "rev-parse", "HEAD")
    done = await hive.submit_commit(manager, "a0", oid, "x", many.fetch(oid))
    assert done.state == "rejected"
    assert "changes more than 800 files" in done.message


async def test_the_removal_of_many_agents_fits(hive: Hive, layout: Layout, many: Clone) -> None:
    git(many.path, "rm", "-rq", *(f"agents/a{n}" for n in range(250)))
    many.commit()
    n = await pushed(hive, layout, many, "fewer")
    found = await shown(hive, n)
    gone = sum(action["kind"] == "destroy" for action in found["effect"]["actions"])
    assert gone + found["effect"]["left_out"]["actions"].get("destroy", 0) == 250
    assert len(found["diff"]) + found["diff_left_out"] == 500


async def test_a_long_setting_is_left_to_the_diff(hive: Hive, layout: Layout, clone: Clone) -> None:
    text = "word " * 10_000
    template = f'\n[templates.long]\nprompt_text = "{text}"\n'
    clone.change("hive.toml", clone.read("hive.toml") + template)
    n = await pushed(hive, layout, clone, "long")
    (change,) = (await shown(hive, n))["effect"]["changes"]
    assert change["text"].endswith("…")
    assert change["after"] is None


@pytest.mark.parametrize("lines", [100, 3000])
async def test_as_many_lines_are_shown_as_fit(
    hive: Hive, layout: Layout, clone: Clone, lines: int
) -> None:
    """Of two files of which both, or only the first, fit."""
    for name in ("one", "two"):
        clone.write(
            f"modules/{name}.nix", "".join(f'# "line" {k:060}\n' for k in range(lines // 2))
        )
    clone.write("modules/zero.nix", "{ }\n")
    clone.commit()
    n = await pushed(hive, layout, clone, "lines")
    files = {file["path"]: file for file in (await shown(hive, n))["diff"]}
    assert not files["modules/one.nix"]["cut"]
    assert not files["modules/zero.nix"]["cut"]
    assert files["modules/one.nix"]["added"] == lines // 2
