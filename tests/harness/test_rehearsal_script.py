from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_harness.rehearsal.__main__ import SHIPPED
from hive_harness.rehearsal.script import Script, ScriptError, fill, parse
from hive_harness.wake import Wake


def message(body: str = "", **more: object) -> Wake:
    fields = {"id": 1, "sender": "operator", "kind": "text", "thread": 1, "in_reply_to": None}
    return Wake(**{**fields, "unread": 0, "body": body, **more})  # type: ignore[arg-type]


def rule(script: Script, wake: Wake, **variables: object) -> str:
    found = script.match(wake, {"name": "hm1nd", **variables})
    assert found is not None
    return script.rules[found[0]].name


@pytest.fixture(scope="module")
def manager() -> Script:
    return parse((SHIPPED / "manager.toml").read_text(), "manager.toml")


@pytest.mark.parametrize("body", ["we need a scout", "Hey, We need a new scout please!"])
def test_the_manager_hears_what_is_needed(manager: Script, body: str) -> None:
    found = manager.match(message(body), {})
    assert found is not None
    assert found[1]["wanted"] == "scout"


@pytest.mark.parametrize(
    ("wake", "variables", "name"),
    [
        (message("we need a scout", sender="mole"), {}, "anything else"),
        (message("hello"), {}, "the operator writes something else"),
        (message("x", kind="spawned", data={"agent": "scout"}), {}, "the new agent is up"),
        (message("x", kind="spawned"), {}, "anything else"),
        (
            message("hi", sender="scout", in_reply_to=3),
            {"stage_scout": "greeted"},
            "the new agent answers: give it its description, and too much memory",
        ),
        (message("hi", sender="scout"), {"stage_scout": "proposed"}, "anything else"),
        (
            message("no", kind="approval_resolved", data={"outcome": "denied", "agent": "scout"}),
            {"stage_scout": "proposed"},
            "an apply is denied: read the reason, ask for less",
        ),
        (
            message("no", kind="approval_resolved", data={"outcome": "denied", "agent": "scout"}),
            {"stage_scout": "asked"},
            "a proposal was decided",
        ),
        (
            message("up", kind="rebuilt", data={"agent": "scout"}),
            {"working_on": "scout"},
            "the agent runs with the change: ask what comes next",
        ),
        (message("up", kind="rebuilt", data={"agent": "mole"}), {}, "anything else"),
        (
            message("tea", kind="operator_answered"),
            {"working_on": "scout"},
            "the operator answers: tell the agent",
        ),
        (message("tea", kind="operator_answered"), {}, "anything else"),
    ],
)
def test_the_managers_rules(
    manager: Script, wake: Wake, variables: dict[str, object], name: str
) -> None:
    assert rule(manager, wake, **variables) == name


def test_an_agent_answers_messages_but_not_answers() -> None:
    agent = parse((SHIPPED / "agent.toml").read_text(), "agent.toml")
    assert rule(agent, message("hi")) == "greet whoever writes"
    assert rule(agent, message("hi", in_reply_to=2)) == "an answer needs no answer"
    assert rule(agent, message("x", kind="rebuilt")) == "anything else"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[rule]", "is not TOML"),
        ("x = " + "1" * 5000, "is not TOML"),
        ("x = " + "[" * 5000, "is not TOML"),
        ("x = 1", "a list of"),
        ("[[rule]]\nfrm = 'x'", "rule 1: frm is no key here"),
        ("[[rule]]\nname = 'a'\nbody = '('", "rule 1 'a': body is no regular expression"),
        ("[[rule]]\n[[rule.step]]\nsay = 'a'\nrun = 'b'", "rule 1, step 1 has exactly one of"),
        ("[[rule]]\n[[rule.step]]\nsay = 'a'\nsave = 'b'", "save is no key here"),
        ("[[rule]]\n[[rule.step]]\nsay = 3", "wrong type"),
        ("[[rule]]\ndata = 3", "data is no table"),
    ],
)
def test_a_script_that_cannot_be_used_says_where(text: str, words: str) -> None:
    with pytest.raises(ScriptError, match=words):
        parse(text, "rehearsal.toml")


def test_variables_are_filled_in_at_any_depth() -> None:
    variables = {"a": "x y", "data": {"n": 3}}
    assert fill({"k_{a}": ["{data.n}", 4, {"z": "{a}"}]}, variables) == {
        "k_x y": [3, 4, {"z": "x y"}]
    }
    assert fill("{data.n}", variables) == 3
    assert fill("{ pkgs, ... }: ${a}", variables) == "{ pkgs, ... }: ${a}"
    with pytest.raises(ScriptError, match=r"no variable \{nope\}"):
        fill("{nope}", variables)


@given(st.text(max_size=60))
def test_text_in_a_command_is_one_word(text: str) -> None:
    import shlex

    assert shlex.split(fill("echo {x} end", {"x": text}, quoted=True)) == ["echo", text, "end"]
