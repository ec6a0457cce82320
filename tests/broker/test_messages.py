"""Messages from sender to turn and back, over the real sockets of a real process."""

from __future__ import annotations

from support.broker_rig import agent, rig, until

A, B, M = "aaaaaaaaaaaa", "bbbbbbbbbbbb", "mmmmmmmmmmmm"


async def test_a_message_becomes_a_turn_and_is_settled_once(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        sent = await hive.ask("send", to="scout", body="look there", by="ann")
        grant = await scout.granted()
        assert grant["turn"] == f"{sent['id']}.1"
        assert grant["message"]["sender"] == "operator"
        assert grant["message"]["body"] == "look there"
        assert grant["message"]["data"] == {"by": "ann"}
        await scout.end(grant["turn"])
        await scout.end(grant["turn"])  # confirmed again
        status = await hive.status(A)
        assert (status["turn"], status["queued"]) == (None, 0)


async def test_tools(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "other"))
        scout, other = await hive.harness(A), await hive.harness(B)
        tools = await hive.tools(A)
        names = {t["name"] for t in (await tools.ask("tools/list"))["tools"]}
        assert names == {"send", "recv", "ask_operator", "remind", "cancel_reminder"}
        sent = await tools.call("send", to="other", body="hi")
        grant = await other.granted()
        assert grant["message"]["id"] == sent["id"]
        assert grant["message"]["sender"] == "scout"
