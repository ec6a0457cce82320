"""The pure parts: effects, risks, records, the text edit, hidden characters."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from hive_reconciler.model.checks import hidden_character
from hive_reconciler.model.desired import Entry, Invalid, Valid
from hive_reconciler.model.effect import Effect, Side, difference, effect
from hive_reconciler.model.fields import Risk
from hive_reconciler.model.policy import classes, over_limit
from hive_reconciler.model.proposal import Closed, Merged, Pinned, Requester, standing
from hive_reconciler.model.records import (
    BadRecord,
    Merge,
    closed_message,
    merge_message,
    parse_closed,
    parse_merge,
    parse_proposal,
    proposal_message,
    who_problem,
)
from hive_reconciler.model.shown import effect_json
from hive_reconciler.model.tomledit import set_in_table, set_key
from hive_reconciler.model.tree import Blob, FileChange
from hive_wire.hivetoml import HiveToml
from hive_wire.spec import AgentSpec

HIVE = HiveToml.model_validate({"schema": 1})
UID = "abcdefghijkl"


def valid(**settings: Any) -> Valid:
    return Valid(AgentSpec.model_validate({"uid": UID, **settings}), "x", "r", "t")


def blob(text: str) -> Blob:
    return Blob(0o100644, f"{abs(hash(text)):040x}"[:40], len(text), text.encode())


def changed(path: str, old: str | None, new: str | None) -> FileChange:
    return FileChange(path, None if old is None else blob(old), None if new is None else blob(new))


def of(before: Entry | None, after: Entry | None, *files: FileChange) -> Effect:
    sides = ({} if e is None else {"a": e} for e in (before, after))
    one, two = sides
    change = files or (changed("agents/a/agent.toml", "x", "y"),)
    return effect(change, Side(HIVE, one), Side(HIVE, two))


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        ({}, {"restarts": 1}, ["restart"]),
        ({}, {"state": "stopped"}, ["stop"]),
        ({"state": "stopped"}, {}, ["start"]),
        ({"state": "stopped"}, {"state": "stopped", "restarts": 3}, []),
        ({}, {"limits": {"memory": "1G"}}, ["update"]),
        ({}, {"description": "b"}, ["update"]),
        ({}, {"network": {"mode": "private"}, "limits": {"memory": "1G"}}, ["restart"]),
        ({}, {}, []),
    ],
)
def test_actions(before: dict[str, Any], after: dict[str, Any], kinds: list[str]) -> None:
    assert [a.kind for a in of(valid(**before), valid(**after)).actions] == kinds


def test_new_and_removed() -> None:
    new = of(None, valid())
    assert [a.kind for a in new.actions] == ["create"]
    assert {"agent", "tools.builtin", "network.mode", "limits.memory"} <= {
        c.field for c in new.changes
    }
    gone = of(valid(), None)
    assert [a.kind for a in gone.actions] == ["destroy"]
    assert [c.risk for c in gone.changes] == [Risk.HIGH]


def test_an_agent_whose_files_are_mended_is_no_new_one() -> None:
    (action,) = of(Invalid((), "t"), valid(state="stopped")).actions
    assert action.reason == "its files can be used again, not started"


@pytest.mark.parametrize(
    ("before", "after", "risk"),
    [
        ({}, {"network": {"mode": "host"}}, Risk.HIGH),
        ({"network": {"mode": "host"}}, {}, Risk.LOW),
        ({}, {"role": "manager"}, Risk.HIGH),
        ({}, {"tools": {"builtin": ["Bash", "WebFetch"]}}, Risk.HIGH),
        ({}, {"tools": {"builtin": ["Bash"]}}, Risk.LOW),
        ({}, {"limits": {"memory": "4G"}}, Risk.MEDIUM),
        ({}, {"limits": {"memory": "512M"}}, Risk.LOW),
        ({}, {"budget": {"usd_per_day": 9}}, Risk.MEDIUM),
        ({"may_send_to": ["b"]}, {"may_send_to": ["b", "c"]}, Risk.MEDIUM),
        ({}, {"description": "x"}, Risk.LOW),
        ({}, {"model": "other"}, Risk.MEDIUM),
    ],
)
def test_risks(before: dict[str, Any], after: dict[str, Any], risk: Risk) -> None:
    assert of(valid(**before), valid(**after)).changes[0].risk is risk


def test_riskiest_first_and_files_count() -> None:
    found = of(
        valid(),
        valid(description="b", network={"mode": "host"}, limits={"memory": "4G"}),
        changed("agents/a/agent.nix", "{ }", "{ x = 1; }"),
        changed("agents/a/prompt.md", "x", "y"),
    )
    ranks = [c.risk.rank for c in found.changes]
    assert ranks == sorted(ranks)
    files = {"agents/a/agent.nix", "agents/a/prompt.md"}
    assert files | {"network.mode"} <= {c.field for c in found.changes}


@pytest.mark.parametrize(
    ("before", "after", "file", "risk"),
    [
        ({}, {}, changed("agents/a/packages.json", None, "[ ]"), Risk.HIGH),
        ({}, {}, changed("agents/a/packages.json", "[ ]", None), Risk.HIGH),
        ({}, {}, changed("agents/a/more/agent.toml", "x", "y"), Risk.HIGH),
        ({}, {}, changed("agents/a/more/prompt.md", "x", "y"), Risk.HIGH),
        ({}, {}, changed("agents/a/network.mode", "x", "host"), Risk.HIGH),
        ({}, {}, changed("agents/a/prompt.md", "x", "y"), Risk.MEDIUM),
        ({}, {"prompt": "role.md"}, changed("agents/a/role.md", None, "y"), Risk.MEDIUM),
        ({}, {"prompt": "role.md"}, changed("agents/a/prompt.md", "x", None), Risk.MEDIUM),
        # Was, or stays, something else than role text:
        ({}, {"prompt": "data.json"}, changed("agents/a/data.json", "x", "y"), Risk.HIGH),
        ({}, {"prompt": "role.md"}, changed("agents/a/prompt.md", "x", "y"), Risk.HIGH),
    ],
)
def test_what_nix_can_read_ranks_as_its_own_files(
    before: dict[str, Any], after: dict[str, Any], file: FileChange, risk: Risk
) -> None:
    found = of(valid(**before), valid(**after), file)
    (change,) = (c for c in found.changes if c.field == file.path)
    assert change.risk is risk
    assert file.path.split("/", 2)[2] in change.text
    assert ("Nix" in change.text) == (risk is Risk.HIGH)
    assert ("rebuild" in {a.kind for a in found.actions}) == (risk is Risk.HIGH)


def test_settings_are_told_one_by_one() -> None:
    file = changed("agents/a/agent.toml", "x", "y")
    found = of(valid(), valid(description="b"), file)
    assert [c.field for c in found.changes] == ["description"]
    assert [a.kind for a in found.actions] == ["update"]


names_ = st.sampled_from(
    ["agent.toml", "agent.nix", "prompt.md", "role.md", "a.json", "x/a.md", "x/y.nix", "role"]
)
prompts = st.sampled_from(["prompt.md", "role.md", "a.json"])


@given(st.sets(names_), prompts, prompts)
def test_no_file_changes_unnamed(names: set[str], before: str, after: str) -> None:
    files = [changed(f"agents/a/{name}", "x", "y") for name in sorted(names)]
    found = of(valid(prompt=before), valid(prompt=after), *files)
    of_files = {c.field: c.risk for c in found.changes if c.field.startswith("agents/")}
    quiet = {"agent.toml"} | ({before} & {after})
    assert of_files.keys() == {f"agents/a/{name}" for name in names - {"agent.toml"}}
    high = {path for path, risk in of_files.items() if risk is Risk.HIGH}
    assert high == {f"agents/a/{name}" for name in names - quiet}


def test_a_difference_tells_of_other_rules() -> None:
    file = changed("agents/a/packages.json", "[ ]", "[1]")
    side = Side(HIVE, {"a": valid()})
    then, now = (effect([file], side, side, version) for version in (1, 2))
    assert difference(then, now) == [
        "+ a: packages.json, which Nix can read for packages and services, changes",
        "+ rebuild a: packages.json changed; on hosts that run NixOS",
        "+ told by version 2 of the rules",
        "- told by version 1 of the rules",
    ]


settings_ = st.fixed_dictionaries(
    {},
    optional={
        "description": st.sampled_from(["a", "b"]),
        "restarts": st.integers(0, 2),
        "state": st.sampled_from(["running", "stopped"]),
        "limits": st.fixed_dictionaries({"memory": st.sampled_from(["1G", "2G"])}),
        "may_send_to": st.sampled_from([["everyone"], ["b", "c"], []]),
    },
)


@given(settings_, settings_)
def test_effect_is_a_function_and_sees_everything(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    one, two = of(valid(**before), valid(**after)), of(valid(**before), valid(**after))
    assert one == two
    assert (not one.changes) == (valid(**before) == valid(**after))
    nothing = of(valid(**before), valid(**before))
    assert (one.digest == nothing.digest) == (valid(**before) == valid(**after))
    assert bool(difference(nothing, one)) == (one.digest != nothing.digest)
    assert effect_json(one)["digest"] == one.digest


def test_a_difference_names_each_agent_once() -> None:
    before, after = (of(valid(), valid(restarts=n)) for n in (1, 2))
    assert "+ a: restarts 0 → 2" in difference(before, after)
    assert "- a: restarts 0 → 1" in difference(before, after)


texts = st.text(max_size=200)
names = st.from_regex(r"[A-Za-z0-9_.@+/-]{1,20}", fullmatch=True)


@given(st.integers(1, 10**6), texts, texts, names, st.floats(0, 4e9))
def test_records_come_back(n: int, text: str, reason: str, who: str, at: float) -> None:
    oid = "a" * 40
    requester = Requester.agent(UID, "hm1nd")
    pinned = Pinned(n, oid, oid, oid, "apply", "scout", requester, text, at, "topic")
    message = proposal_message(pinned)
    assert parse_proposal(n, oid, message) == pinned
    closed = Closed("denied", reason, who, at)
    ending = closed_message(n, closed)
    assert parse_closed(n, ending) == closed
    merge = Merge(n, str(requester), who, 1, "0" * 64, n % 3)
    assert parse_merge(merge_message(merge)) == merge
    for written in (message, ending):
        assert written.isascii()
        assert all(c.isprintable() or c == "\n" for c in written)


@pytest.mark.parametrize(
    ("was", "odd"),
    [
        ("closed 7", "closed 8"),
        ("Outcome: denied", "Outcome: merged"),
        ("By: root", "By: root\nBy: eve"),
        ("At: 2.5", "At: soon"),
        ("At: 2.5", "At: 2.5.1"),
        ('Reason: "no"', "Reason: no"),
        ('Reason: "no"', 'Reason: "no" "yes"'),
        ('Reason: "no"\n', 'Reason: "no"'),
        ('Reason: "no"\n', 'Reason: "no"\nMore: x\n'),
    ],
)
def test_an_odd_ending_is_refused(was: str, odd: str) -> None:
    ending = closed_message(7, Closed("denied", "no", "root", 2.5))
    assert was in ending
    with pytest.raises(BadRecord, match="closed/7"):
        parse_closed(7, ending.replace(was, odd))


@pytest.mark.parametrize(
    ("was", "odd"),
    [
        ("proposal 7\n", "proposal 8\n"),
        ("\n\n", "\n"),
        ('"kind":"apply"', '"kind":"merge"'),
        ('"kind":"apply"', '"kind":[]'),
        ('"agent":"scout",', ""),
        ("}\n", "\n"),
        ("}\n", "} {}\n"),
    ],
)
def test_an_odd_proposal_is_refused(was: str, odd: str) -> None:
    pinned = Pinned(7, "a", "a", "a", "apply", "scout", Requester.user("u"), "", 0.0)
    message = proposal_message(pinned)
    assert was in message
    with pytest.raises(BadRecord, match="proposal/7"):
        parse_proposal(7, "a", message.replace(was, odd))


@given(st.text(max_size=300))
def test_only_our_merges_parse(text: str) -> None:
    with pytest.raises(BadRecord):
        parse_merge(text)
    with pytest.raises(BadRecord):
        parse_merge(merge_message(Merge(1, "user/x", "root", 1, "0")) + text + "x")


@pytest.mark.parametrize("who", ["", " x", "a\nb", "a\x1b", "a" * 200, "\u202e", "a:b"])
def test_names_in_trailers(who: str) -> None:
    assert who_problem(who)


@given(st.integers(0, 3), st.integers(0, 3))
def test_state_from_refs(merge: int, close: int) -> None:
    pinned = Pinned(1, "a", "a", "a", "apply", "x", Requester.user("u"), "", 0.0)
    merges = {merge: Merged("m", "root", 1.0, "user/u", 1, "d", 0)}
    closed = {close: Closed("denied", "no", "root", 2.0)}
    state = standing(pinned, merges, closed).state
    assert state == ("merged" if merge == 1 else "denied" if close == 1 else "open")


plain = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)
tables = st.dictionaries(
    st.sampled_from(["state", "restarts", "description", "uid", "limits"]),
    st.one_of(plain, st.integers(0, 9), st.dictionaries(st.sampled_from(["memory"]), plain)),
)


@given(tables, st.sampled_from(["state", "restarts", "uid"]), st.one_of(plain, st.integers(0, 9)))
def test_set_key_sets_only_that(table: dict[str, Any], key: str, value: str | int) -> None:
    text = "# kept\n" + tomli_w.dumps(table)
    assert tomllib.loads(set_key(text, key, value)) == {**table, key: value}


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("a = 1\n", 'state = "stopped"\na = 1\n'),
        ('state = "running" # why\na = 1\n', 'state = "stopped" # why\na = 1\n'),
        ("# c\n[limits]\nstate = 1\n", 'state = "stopped"\n# c\n[limits]\nstate = 1\n'),
        ("restarts = 1\nstate='running' # why\n", 'restarts = 1\nstate = "stopped"\n'),
        (f"state ={' ' * 50_000}'running'\n", 'state = "stopped"\n'),
        ('d = """\nstate = "x"\n"""\n', None),
    ],
)
def test_set_key_keeps_the_rest(text: str, after: str | None) -> None:
    edited = set_key(text, "state", "stopped")
    assert tomllib.loads(edited) == {**tomllib.loads(text), "state": "stopped"}
    assert after is None or edited == after


TOML = f'uid = "{UID}"\nstate = "running"\n# note\n'


@pytest.mark.parametrize(
    ("path", "new", "is_power"),
    [
        ("agents/a/agent.toml", TOML.replace("running", "stopped"), True),
        ("agents/a/agent.toml", "restarts = 1\n" + TOML, True),
        ("agents/a/agent.toml", TOML.replace("running", "stopped") + "# hi\n", False),
        ("agents/a/agent.toml", TOML.replace("running", "stopped") + 'model = "x"\n', False),
        ("agents/a/prompt.md", "x", False),
        ("hive.toml", "schema = 1", False),
    ],
)
def test_power_is_judged_on_the_bytes(path: str, new: str, is_power: bool) -> None:
    old = {"a": valid()}
    spec = tomllib.loads(new) if path.endswith("agent.toml") else {}
    after = {"a": valid(**spec)}
    found = classes([changed(path, TOML, new)], old, after)
    assert found == (frozenset({"power"}) if is_power else frozenset())
    managers = {"a": valid(role="manager")}
    assert not classes([changed(path, TOML, new)], managers, managers)


def test_hourly_limit_is_per_requester() -> None:
    me, other = Requester.agent(UID, "hm1nd"), Requester.agent("b" * 12, "hm1nd")
    merges = [Merged("m", "policy/power@x", 1000.0 + i, str(me), 1, "d", 0) for i in range(10)]
    assert over_limit(me, merges, 1500.0)
    assert not over_limit(other, merges, 1500.0)
    assert not over_limit(me, merges, 5000.0)
    by_hand = [Merged("m", "root", 1000.0, str(me), 1, "d", 0)] * 20
    assert not over_limit(me, by_hand, 1500.0)


def test_hidden_characters() -> None:
    for fine in ("plain\n\ttext", "äöü ß → ✓ 日本語 ⚠️ 😀"):
        assert hidden_character(fine) is None, fine
    for bad in ("\r", "\x00", "\x7f", "\x85", "\u200b", "\u202e", "\u2066", "\ufeff", "\u00ad"):
        assert hidden_character("a\n" + bad) is not None, repr(bad)
    for bad in ("\u3164", "\u2028", "\U000e0001", "\ue000", "\ufe01", "\u115f"):
        assert hidden_character(bad) is not None, repr(bad)


rules = st.lists(st.sampled_from(["Bash(git status)", 'Bash(echo "a")', "Edit"]), max_size=3)


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("a = 1\n", 'a = 1\n\n[tools]\nallow = ["Edit"]\n'),
        (
            "[tools] # t\nbuiltin = []\n[x]\n",
            '[tools] # t\nallow = ["Edit"]\nbuiltin = []\n[x]\n',
        ),
        (
            '[tools]\n# why\nallow = ["Read"]\n[x]\nallow = [1]\n',
            '[tools]\n# why\nallow = ["Edit"]\n[x]\nallow = [1]\n',
        ),
        ("tools = { builtin = [] }\n", None),
        ('[tools]\nallow = [\n  "Read",\n]\n', None),
        ('d = """\n[tools]\n"""\n', None),
    ],
)
def test_set_in_table_keeps_the_rest(text: str, after: str | None) -> None:
    edited = set_in_table(text, "tools", "allow", ["Edit"])
    old = tomllib.loads(text)
    assert tomllib.loads(edited) == {**old, "tools": {**old.get("tools", {}), "allow": ["Edit"]}}
    assert after is None or edited == after


@pytest.mark.parametrize("odd", ["9" * 5000, "[" * 3000])
def test_an_edit_that_frees_what_was_text_is_not_taken(odd: str) -> None:
    """A number of too many digits, and what nests too deeply, are no error of TOML's."""
    text = f"description = '''\n[tools]\nx = {odd}\n'''\n[tools]\nask = []\n"
    rule = "Bash('''#)"
    edited = tomllib.loads(set_in_table(text, "tools", "allow", [rule]))
    assert edited == {**tomllib.loads(text), "tools": {"ask": [], "allow": [rule]}}


@given(rules, rules)
def test_set_in_table_sets_only_that(before: list[str], after: list[str]) -> None:
    text = tomli_w.dumps({"a": "b", "tools": {"ask": [], "allow": before}, "z": {"allow": [1]}})
    edited = tomllib.loads(set_in_table(text, "tools", "allow", after))
    assert edited == {"a": "b", "tools": {"ask": [], "allow": after}, "z": {"allow": [1]}}
