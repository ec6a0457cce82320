"""README's story, told to a swarm that is up. Needs nothing but the standard library and wire."""

from __future__ import annotations

from typing import Protocol

from support.swarm import Swarm


class Operator(Protocol):
    async def say(self, to: str, text: str) -> None: ...
    async def approve(self, n: int) -> None: ...
    async def deny(self, n: int, reason: str) -> None: ...
    async def choose(self, question: int, number: int) -> None: ...


class ByCommand:
    def __init__(self, hive: Swarm) -> None:
        self.hive = hive

    async def say(self, to: str, text: str) -> None:
        await self.hive.cli("send", to, text)

    async def approve(self, n: int) -> None:
        shown = await self.hive.shown(n)
        assert f"agents/{shown['agent']}/agent.toml" in await self.hive.cli("show", str(n))
        await self.hive.cli("approve", str(n), "--expect", shown["effect"]["digest"])

    async def deny(self, n: int, reason: str) -> None:
        await self.hive.cli("deny", str(n), "--reason", reason)

    async def choose(self, question: int, number: int) -> None:
        await self.hive.cli("answer", str(question), "--choose", str(number))


async def the_story(hive: Swarm, operator: Operator) -> None:
    await hive.ready("hm1nd")
    await operator.say("hm1nd", "we need a scout")

    spawn = await hive.open_proposal("spawn")
    await operator.approve(spawn["n"])
    scout = await hive.ready("scout")
    await hive.message("system", "hm1nd", kind="spawned")
    await hive.message("hm1nd", "scout")
    await hive.message("scout", "hm1nd")

    state = hive.layout.agent(scout["uid"]) / "state"
    (state / "kept").write_text("kept")
    apply = await hive.open_proposal("apply")
    assert "agent.nix" in await hive.cli("show", str(apply["n"]))
    await operator.deny(apply["n"], "too much memory for a scout")
    denied = await hive.message("system", "hm1nd", "too much memory", kind="approval_resolved")
    again = await hive.open_proposal("apply")
    assert again["n"] > apply["n"]
    await operator.approve(again["n"])
    await hive.message("system", "hm1nd", kind="approval_resolved", after=denied["id"])

    question = await hive.question()
    assert question["options"]
    await operator.choose(question["id"], 1)
    answer = await hive.message("system", "hm1nd", kind="operator_answered")
    assert question["options"][0] in str(answer["data"])

    await hive.message("hm1nd", "scout", after=answer["id"])

    async def sessions() -> list[str] | None:
        events = await hive.broker("events", uid=scout["uid"], kinds=["turn.ended"], limit=50)
        found = [e["data"]["session"] for e in events["events"]]
        return found if len(found) > 1 else None

    assert len(set(await hive.until("scout's second turn", sessions))) == 1

    async def updated() -> bool:
        now = await hive.ready("scout")
        assert now["uid"] == scout["uid"]
        return now["in_sync"] and now["revision"] != scout["revision"]

    await hive.until("scout runs what was approved", updated)
    assert (state / "kept").read_text() == "kept"

    await hive.cli("stop", "scout")

    async def stopped() -> bool:
        agents = {a["name"]: a for a in (await hive.host("status"))["agents"]}
        return agents["scout"]["desired"] == "stopped" and agents["scout"]["in_sync"]

    await hive.until("scout is stopped", stopped)
    await hive.cli("reconcile", "--dry-run", "--detailed-exitcode", check=0)
