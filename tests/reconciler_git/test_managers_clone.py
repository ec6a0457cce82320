"""The manager's clone by the commands that it is told: nothing is lost, and nothing is in the way."""

from __future__ import annotations

import re
import shlex
import subprocess

from support.git_work import ENVIRONMENT, Clone

from hive_reconciler.core.outcomes import LEAVE, PULL, STUCK
from hive_reconciler.git.hive import Hive
from hive_reconciler.model.proposal import Requester
from hive_wire.paths import Layout

PROMPT = "agents/{}/prompt.md"


def told(words: str) -> list[list[str]]:
    """The commands of a message."""
    return [
        shlex.split(found) for found in re.findall(r"git -C /hive [a-zA-Z/. -]+[a-zA-Z]", words)
    ]


def do(clone: Clone, command: list[str], topic: str = "") -> int:
    argv = [{"/hive": str(clone.path), "TOPIC": topic}.get(word, word) for word in command]
    return subprocess.run(argv, capture_output=True, check=False, env=ENVIRONMENT).returncode


async def merge(hive: Hive, n: int) -> None:
    effect = (await hive.proposal(n)).effect
    assert effect is not None
    await hive.approve(n, effect.digest, "ada")


async def test_a_denied_commit_is_neither_lost_nor_in_the_way(
    hive: Hive, manager: Requester, clone: Clone, layout: Layout
) -> None:
    for name in ("scout", "cook"):
        await merge(hive, (await hive.submit_spawn(manager, name, "x")).n)
    (pull,) = told(PULL)
    assert do(clone, pull) == 0

    async def ask(agent: str, text: str) -> str:
        commit = clone.change(PROMPT.format(agent), text)
        asked = await hive.submit_commit(manager, agent, commit, "", clone.fetch(commit))
        assert asked.state == "open", asked.message
        if text.startswith("denied"):
            await hive.deny(asked.n, "no", "ada")
        else:
            await merge(hive, asked.n)
        return commit

    denied = await ask("scout", "denied work\n")
    for number, command in enumerate(told(LEAVE)):
        assert do(clone, command, "next") == 0, number
    await ask("cook", "good work\n")  # its scope is cook alone: the denied one is not in it

    assert do(clone, ["git", "-C", "/hive", "switch", "applied"]) == 0  # where the denied one is
    await merge_elsewhere(hive, manager, Clone(layout.hive_git, clone.path.with_name("other")))
    assert do(clone, pull) != 0  # both wrote the same line
    abort, begin = told(STUCK)
    assert do(clone, abort) == 0
    assert do(clone, begin, "after") == 0
    await ask("cook", "more good work\n")
    assert clone.has(denied)
    assert do(clone, ["git", "-C", "/hive", "merge-base", "--is-ancestor", denied, "applied"]) == 0


async def merge_elsewhere(hive: Hive, manager: Requester, other: Clone) -> None:
    commit = other.change(PROMPT.format("scout"), "other work\n")
    asked = await hive.submit_commit(manager, "scout", commit, "", other.fetch(commit))
    await merge(hive, asked.n)
