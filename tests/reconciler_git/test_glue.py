"""The glue for Nix users in hive.git: made with the swarm, changed by people who see it."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import pytest
from support.git_work import Clone, git

from hive_reconciler.git.hive import Hive
from hive_reconciler.model.glue import flake_lock, flake_nix, glue_problems
from hive_reconciler.model.proposal import Requester
from hive_wire.paths import Layout

TEMPLATE = Path(__file__).resolve().parents[2] / "templates/swarm"
PINNED = {"type": "github", "rev": "0" * 40, "narHash": "sha256-x"}


def lock(**nodes: Any) -> bytes:
    return json.dumps(
        {"nodes": {"root": {"inputs": {}}, **nodes}, "root": "root", "version": 7}
    ).encode()


async def test_a_new_swarm_has_it(hive: Hive, clone: Clone) -> None:
    assert clone.read("flake.nix") == flake_nix(platform.machine())
    assert clone.read("flake.lock") == flake_lock()


def test_the_template_has_the_same() -> None:
    assert (TEMPLATE / "flake.nix").read_text() == flake_nix("x86_64")
    assert (TEMPLATE / "flake.lock").read_text() == flake_lock()


@pytest.mark.parametrize("path", ["flake.nix", "flake.lock", "modules/default.nix"])
async def test_no_agent_changes_it(hive: Hive, clone: Clone, manager: Requester, path: str) -> None:
    content = lock(own={"locked": PINNED}) if path == "flake.lock" else b"{ }\n"
    oid = clone.change(path, content)
    done = await hive.submit_commit(manager, "hm1nd", oid, "tidy up", clone.fetch(oid))
    assert done.state == "rejected"
    assert f"{path}: is outside agents/hm1nd/" in done.message


async def test_a_persons_change_stands_at_the_top_of_the_card(
    hive: Hive, clone: Clone, layout: Layout
) -> None:
    clone.change("flake.nix", clone.read("flake.nix").replace("mkSwarm", "mkOther"))
    git(clone.path, "push", "-q", str(layout.inbox_git), "HEAD:refs/heads/proposed/glue")
    (done,) = await hive.import_inbox()
    shown = await hive.proposal(done.n)
    assert shown.effect is not None
    (change,) = shown.effect.changes
    assert (change.field, change.risk.value) == ("flake.nix", "high")
    assert [file.path for file in shown.effect.files] == ["flake.nix"]


async def test_a_lock_that_pins_nothing_is_refused(
    hive: Hive, clone: Clone, layout: Layout
) -> None:
    clone.write("flake.lock", lock(own={"locked": {"type": "github", "rev": "0" * 40}}))
    clone.commit()
    git(clone.path, "push", "-q", str(layout.inbox_git), "HEAD:refs/heads/proposed/lock")
    (done,) = await hive.import_inbox()
    assert done.state == "rejected"
    assert "flake.lock: does not pin 'own': no narHash" in done.message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lock(), None),
        (lock(own={"locked": PINNED}), None),
        (lock(own={"locked": {"type": "path", "path": "./own"}}), None),
        (lock(own={"locked": {"type": "path", "path": "/etc"}}), "does not pin 'own'"),
        (lock(own={"original": {}}), "does not pin 'own'"),
        (b'{"nodes": {}, "root": "root", "version": 7}', "no lock that nix has written"),
        (b'{"nodes": {"root": {}}, "root": "root", "version": 6}', "no lock that nix has"),
        (b'{"nodes": {"root": {}, "x": 1}, "root": "root", "version": 7}', "no lock that nix"),
        (b"[]", "no lock that nix has written"),
        (b"\xff", "no lock that nix has written"),
        (None, None),
    ],
)
def test_what_a_lock_may_be(content: bytes | None, words: str | None) -> None:
    problems = glue_problems(b"{ }", content)
    assert (words in str(problems[0])) if words else problems == []


def test_a_lock_belongs_to_a_flake() -> None:
    assert "is not there" in str(glue_problems(None, lock())[0])
