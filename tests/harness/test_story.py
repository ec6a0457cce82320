"""The README's story from the harness's side: shipped scripts, real git, a broker double."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.applied_repo import git, make_applied
from support.fake_broker import FakeBroker
from support.harness_process import HarnessProcess

from hive_wire.parse import parse_agent

AGENT = """\
role = "agent"
uid = "k3f9k3f9k3f9"
description = "old"

[limits]
memory = "512M"
tasks = 100

[network]
mode = "none"
"""


class Story:
    def __init__(self, broker: FakeBroker) -> None:
        self.broker = broker
        self.turns = 0
        for tool in ("request_spawn", "request_apply_commit", "ask_operator"):
            broker.tools[tool] = lambda _: json.dumps({"proposal": 7, "state": "open"})

    async def hears(self, body: str, **message: Any) -> list[tuple[str, dict[str, Any]]]:
        """What the agent does with its hive tools on a message."""
        before = len(self.broker.calls)
        self.broker.post(body, **message)
        self.turns += 1
        end = await self.broker.ended(self.turns)
        assert end.outcome == "ok"
        failed = [t for t in self.broker.texts() if "stops here" in t]
        assert failed == []
        return [(tool, arguments) for _, tool, arguments in self.broker.calls[before:]]

    async def is_told(self, what: str, **data: Any) -> list[tuple[str, dict[str, Any]]]:
        """The same of a system message."""
        return await self.hears(f"about {what}", sender="system", kind=what, data=data)


@pytest.mark.parametrize("limits", [AGENT, 'description = "old"\nuid = "k3f9k3f9k3f9"\n'])
async def test_the_managers_part(tmp_path: Path, limits: str) -> None:
    harness = HarnessProcess(tmp_path)
    harness.agent(role="manager", name="hm1nd")
    make_applied(harness.applied, tmp_path / "work", limits)
    async with FakeBroker(harness.run, name="hm1nd") as broker, harness:
        story = Story(broker)
        ((tool, wish),) = await story.hears("we need a scout")
        assert (tool, wish["name"]) == ("request_spawn", "scout")

        decided = {"kind": "spawn", "agent": "scout", "proposal": 1, "outcome": "merged"}
        assert await story.is_told("approval_resolved", **decided) == []
        ((tool, hello),) = await story.is_told("spawned", agent="scout", proposal=1)
        assert (tool, hello["to"]) == ("send", "scout")

        answer = {"sender": "scout", "in_reply_to": 3, "thread": 3}
        ((tool, first),) = await story.hears("scout here", **answer)
        assert (tool, first["agent"]) == ("request_apply_commit", "scout")
        spec = _spec(harness, first["commit"])
        assert spec.limits.memory == "6G"
        assert spec.description != "old"
        assert "ripgrep" in git(harness.hive, "show", f"{first['commit']}:agents/scout/agent.nix")

        denied = {"kind": "apply", "agent": "scout", "proposal": 2, "outcome": "denied"}
        reason = {"reason": "6G is too much"}
        ((tool, second),) = await story.is_told("approval_resolved", **denied, **reason)
        assert (tool, second["agent"]) == ("request_apply_commit", "scout")
        assert _spec(harness, second["commit"]).limits.memory == "1G"
        assert second["commit"] != first["commit"]

        merged = {"kind": "apply", "agent": "scout", "proposal": 3, "outcome": "merged"}
        assert await story.is_told("approval_resolved", **merged) == []
        ((tool, question),) = await story.is_told("rebuilt", agent="scout", proposal=3)
        assert (tool, len(question["options"])) == ("ask_operator", 3)

        ((tool, told),) = await story.hears(
            "The operator answered question 1: the news", sender="system", kind="operator_answered"
        )
        assert (tool, told["to"]) == ("send", "scout")
        assert "the news" in told["body"]
        assert await story.hears("scout: will do", **answer) == []


def _spec(harness: HarnessProcess, commit: str) -> Any:
    text = git(harness.hive, "show", f"{commit}:agents/scout/agent.toml")
    return parse_agent(text.encode(), "agents/scout/agent.toml")


async def test_an_agents_part(tmp_path: Path) -> None:
    harness = HarnessProcess(tmp_path)
    harness.agent(name="scout")
    async with FakeBroker(harness.run, name="scout") as broker, harness:
        story = Story(broker)
        ((tool, answer),) = await story.hears("Hello scout", sender="hm1nd")
        assert (tool, answer["to"], answer["in_reply_to"]) == ("send", "hm1nd", 1)
        assert await story.hears("fine", sender="hm1nd", in_reply_to=1) == []
