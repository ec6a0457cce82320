"""May the engine use a tool: asked in a turn, decided once, denied in the end."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.broker_rig import agent, rig, until

from hive_broker.core.permissions import rule_for
from hive_broker.store.database import open_for_writing
from hive_broker.store.reader import PERMISSION
from hive_wire.rpc_errors import CONFLICT, REFUSED, RpcError
from hive_wire.spec import Tools

A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
BASH = {"tool": "Bash", "input": {"command": "make deploy"}, "ttl": 300}


async def running(hive, uid: str = A, name: str = "scout"):
    """A harness with a turn that runs."""
    await hive.registry(agent(A, "scout"), agent(B, "cook"))
    scout = await hive.harness(uid)
    await hive.ask("send", to=name, body="go", by="ann")
    return scout, (await scout.granted())["turn"]


async def open_one(hive):
    async def first():
        return next(iter((await hive.ask("questions"))["questions"]), None)

    return await until(first, "a question")


@pytest.mark.parametrize("choice", ["once", "always", "deny"])
async def test_a_decision_reaches_the_engine_and_is_no_message(tmp_path, choice):
    async with rig(tmp_path) as hive:
        scout, turn = await running(hive)
        asking = asyncio.create_task(scout.ask("permission", key="k1", turn=turn, **BASH))
        asked = await open_one(hive)
        assert (asked["kind"], asked["agent"]) == ("permission", "scout")
        assert asked["options"] == ["once", "deny", "always"]
        assert asked["permission"] == {
            "tool": "Bash",
            "input": {"command": "make deploy"},
            "rule": "Bash(make deploy)",
            "turn": turn,
        }
        assert 290 < asked["expires"] - asked["asked"] <= 300
        with pytest.raises(RpcError, match="takes one choice") as error:
            await hive.ask("answer", id=asked["id"], by="ann", text="yes, do")
        assert error.value.code == CONFLICT
        await hive.ask("answer", id=asked["id"], by="ann", choices=[choice], text="because")
        assert await asking == {"decision": choice, "text": "because", "by": "ann"}
        with pytest.raises(RpcError, match="already"):
            await hive.ask("answer", id=asked["id"], by="bob", choices=["once"])
        await scout.end(turn)
        assert scout.grants.empty()


@pytest.mark.slow
async def test_without_an_answer_it_is_denied_and_a_late_one_is_refused(tmp_path):
    async with rig(tmp_path) as hive:
        scout, turn = await running(hive)
        ask = {**BASH, "ttl": 0.2}
        decision = await scout.ask("permission", key="k1", turn=turn, **ask)
        assert (decision["decision"], decision["by"]) == ("deny", None)
        assert "in time" in decision["text"]
        [asked] = (await hive.ask("questions", open=False))["questions"]
        with pytest.raises(RpcError, match="the time for question"):
            await hive.ask("answer", id=asked["id"], by="ann", choices=["once"])
        await scout.end(turn)
        assert scout.grants.empty()


@pytest.mark.slow
async def test_it_outlives_the_broker_and_the_connection(tmp_path):
    async with rig(tmp_path) as hive:
        scout, turn = await running(hive)
        asking = asyncio.create_task(scout.ask("permission", key="k1", turn=turn, **BASH))
        asked = await open_one(hive)
        await hive.kill()
        with pytest.raises(RpcError):
            await asking
        await hive.start()
        await scout.hello(running={"turn": turn})
        asking = asyncio.create_task(scout.ask("permission", key="k1", turn=turn, **BASH))
        await hive.ask("answer", id=asked["id"], by="ann", choices=["once"])
        assert (await asking)["decision"] == "once"
        again = await scout.ask("permission", key="k1", turn=turn, **BASH)
        assert again["decision"] == "once"
        assert len((await hive.ask("questions", open=False))["questions"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("why", ["the turn ends", "a new boot", "the engine gives up"])
async def test_an_ask_that_nobody_waits_for_is_withdrawn(tmp_path, why):
    async with rig(tmp_path) as hive:
        scout, turn = await running(hive)
        asking = asyncio.create_task(scout.ask("permission", key="k1", turn=turn, **BASH))
        await open_one(hive)
        if why == "the turn ends":
            await scout.end(turn, "cancelled")
        elif why == "a new boot":
            await scout.hello(boot="00000000-0000-0000-0000-000000000000")
        else:
            await scout.ask("permission.withdraw", key="k1")

        async def withdrawn():
            found = (await hive.ask("questions", open=False))["questions"]
            return found[0]["state"] == "withdrawn"

        await until(withdrawn, "it is withdrawn")
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_what_is_refused_unasked(tmp_path):
    async with rig(tmp_path) as hive:
        scout, turn = await running(hive)
        long = {"command": "x" * (17 << 10)}
        with pytest.raises(RpcError, match="too long to be shown"):
            await scout.ask("permission", key="k", turn=turn, tool="Bash", input=long, ttl=9)
        with pytest.raises(RpcError, match="turn that runs") as error:
            await scout.ask("permission", key="k", turn="999.1", **BASH)
        assert error.value.code == REFUSED
        assert (await hive.ask("questions", open=False))["questions"] == []


@pytest.mark.slow
async def test_a_list_of_questions_fits_a_frame(tmp_path):
    async with rig(tmp_path) as hive:
        scout, turn = await running(hive)
        cook, cooks = await running(hive, B, "cook")
        asks = [
            asyncio.create_task(
                who.ask(
                    "permission",
                    key=f"k{n}",
                    turn=which,
                    tool="Bash",
                    input={"command": "x" * (15 << 10)},
                    ttl=99,
                )
            )
            for who, which in ((scout, turn), (cook, cooks))
            for n in range(49)
        ]

        async def all_open():
            return (await hive.ask("status"))["open"] == 2 and sum(
                e["kind"] == "question"
                for e in (await hive.ask("events", kinds=["question"], limit=30))["events"]
            )

        await until(all_open, "they are asked")
        assert (await hive.ask("questions", limit=500))["questions"]
        for ask in asks:
            ask.cancel()
        await asyncio.gather(*asks, return_exceptions=True)


# -- the rule ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "given", "rule"),
    [
        ("Edit", {"file_path": "/state/x"}, "Edit"),
        ("Bash", {"command": "git status"}, "Bash(git status)"),
        ("Bash", {"command": "rm *"}, None),
        ("Bash", {"command": "echo $(id)"}, None),
        ("Bash", {"command": "a\nb"}, None),
        ("Bash", {"command": "ls "}, None),
        ("Bash", {"command": "gіt status"}, None),
        ("Bash", {}, None),
        ("mcp__x__y", {}, None),
        ("Bash) Write", {}, None),
    ],
)
def test_rules_say_exactly_what_was_asked(tool, given, rule):
    assert rule_for(tool, given) == rule


@given(st.text(max_size=60), st.text(max_size=40))
def test_every_rule_fits_agent_toml(command, tool):
    for rule in (rule_for("Bash", {"command": command}), rule_for(tool, {})):
        if rule is not None:
            assert Tools(allow=(rule,)).allow == (rule,)
            assert "*" not in rule


def test_an_ask_is_found_without_a_look_at_all_there_ever_were(tmp_path):
    """One connection reads for everybody."""
    with contextlib.closing(open_for_writing(tmp_path / "broker.db")) as db:
        plan = db.execute(f"explain query plan {PERMISSION}", (A, "k1")).fetchall()
    assert ["USING INDEX question_ask" in step[3] for step in plan] == [True]


@pytest.mark.slow
async def test_a_database_of_version_1_learns_of_permissions(tmp_path):
    async with rig(tmp_path) as hive:
        scout, _ = await running(hive)
        tools = await hive.tools(A)
        await tools.call("ask_operator", question="old?")
        scout.close()
        await hive.stop()
        path = next(hive.layout.broker.glob("*.db"), None) or next(
            hive.layout.broker.glob("*.sqlite*")
        )
        db = sqlite3.connect(path)
        db.executescript(
            "drop index question_ask; alter table question drop column ask; alter table reminder drop column dated;"
            " alter table question drop column permission; alter table message drop column crc;"
            " alter table delivery drop column hops; drop table mark;"
            " alter table agent drop column forgiven; alter table metered drop column usd;"
            " alter table event drop column message; drop table event_agent;"
            " create index event_agent on event(agent, id); pragma user_version=1"
        )
        db.close()
        await hive.start()
        [old] = (await hive.ask("questions"))["questions"]
        assert (old["text"], old["kind"], old["permission"]) == ("old?", "question", None)
