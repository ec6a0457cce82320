"""What was approved once recomputes for ever: the digests of effects are what they were.

A digest here changes only together with `effect.VERSION`, and then the function of before is
kept under its number, or `hive verify` would call every merge of the past wrong.
"""

from __future__ import annotations

import hashlib

import pytest

from hive_reconciler.model.desired import Entry, Valid
from hive_reconciler.model.effect import VERSION, Side, effect
from hive_reconciler.model.tree import Blob, FileChange
from hive_wire.parse import parse_agent, parse_hive

Tree = dict[str, str]

HIVE = 'schema = 1\n[policy]\nmax_memory = "8G"\n[defaults]\nengine = "rehearsal"\n'
MANAGER = 'role = "manager"\nuid = "aaaaaaaaaaaa"\ndescription = "runs the swarm"\n'
SCOUT = 'uid = "bbbbbbbbbbbb"\ndescription = "looks around"\n'
ALL_KEYS = """uid = "bbbbbbbbbbbb"
description = "does everything"
state = "stopped"
restarts = 7
engine = "claude"
model = "claude-opus-5"
prompt = "role.md"
may_send_to = ["hm1nd", "operator"]
[tools]
builtin = ["Bash", "Read", "WebFetch"]
ask = ["Bash"]
allow = ["Bash(git status)"]
[session]
compact_at = 0.5
when_cold = "notes"
[limits]
memory = "6G"
cpus = 2.5
tasks = 512
[budget]
usd_per_day = 9.5
turns_per_hour = 12
[network]
mode = "private"
"""
BASE: Tree = {
    "hive.toml": HIVE,
    "agents/hm1nd/agent.toml": MANAGER,
    "agents/hm1nd/prompt.md": "Run it.\n",
    "agents/scout/agent.toml": SCOUT,
    "agents/scout/prompt.md": "Look.\n",
    "agents/scout/agent.nix": "{ }\n",
}
SCOUT_GONE = {path: None for path in BASE if path.startswith("agents/scout/")}
CASES: dict[str, dict[str, str | None]] = {
    "nothing": {},
    "a spawn": {
        "agents/new/agent.toml": 'uid = "cccccccccccc"\n',
        "agents/new/prompt.md": "Be.\n",
    },
    "a stop": {"agents/scout/agent.toml": 'state = "stopped"\n' + SCOUT},
    "a restart": {"agents/scout/agent.toml": "restarts = 1\n" + SCOUT},
    "every key": {"agents/scout/agent.toml": ALL_KEYS, "agents/scout/role.md": "Do.\n"},
    "files": {
        "agents/scout/agent.nix": "{ x = 1; }\n",
        "agents/scout/prompt.md": "Look better.\n",
        "agents/scout/notes/deep.md": "x\n",
        "modules/shared.nix": "{ }\n",
        "flake.nix": "{ }\n",
    },
    "retired": dict(SCOUT_GONE),
    "renamed": {
        **SCOUT_GONE,
        "agents/spy/agent.toml": SCOUT,
        "agents/spy/prompt.md": "Look.\n",
    },
    "policy, defaults, templates": {
        "hive.toml": HIVE.replace("8G", "4G")
        + 'model = "other"\n[limits]\nrequired = true\n[templates.cook]\nprompt_text = "Cook."\n'
    },
}
DIGESTS: dict[int, dict[str, str]] = {
    1: {
        "nothing": "996b7badd8827547429b3d8025bcd7d1b978adf50ff5599eaf31615ef7eab12b",
        "a spawn": "8f6200a39188da4d5e819e369b738ee86232f7acde04620aca4e93488b583327",
        "a stop": "b5e31a70d53c04feac920e04cc4eb443bb08cae0e2a1ad6bf2b4fe69a942d087",
        "a restart": "6fa651b2dac15357f513c51b960e70910bc42964fb248a31b55eb2595c35a451",
        "every key": "07e75f50721c3b41d526da1ce1f9613741fcd0939a25b8b5dc8fd49a20431b21",
        "files": "286406b071edc205f64bedd8498f9f88d8e523b9e19efa5c6e5b069c450b0da0",
        "retired": "15d8b79bdc28ea8408ab4a6ebd7ce6da538478a92abae239e1cbb9aca9ca021c",
        "renamed": "4e8f37f3d27c4e0b863d665769cb02fe32b4eb483ec553828132ef1f8323962e",
        "policy, defaults, templates": "87173c5b82c7416f8fdae97b514794acc113eceadd3d38117cbcd38474df8f28",
    },
}


def side(tree: Tree) -> Side:
    hive = parse_hive(tree["hive.toml"].encode())
    agents: dict[str, Entry] = {}
    for path, text in tree.items():
        parts = path.split("/")
        if len(parts) == 3 and parts[2] == "agent.toml":
            spec = parse_agent(text.encode(), path, hive.defaults)
            agents[parts[1]] = Valid(spec, "", "", "")
    return Side(hive, agents)


def blob(text: str | None) -> Blob | None:
    if text is None:
        return None
    data = text.encode()
    return Blob(0o100644, hashlib.sha1(data, usedforsecurity=False).hexdigest(), len(data), data)


def digest(change: dict[str, str | None]) -> tuple[int, str]:
    after: Tree = {p: t for p, t in {**BASE, **change}.items() if t is not None}
    files = [
        FileChange(path, blob(BASE.get(path)), blob(after.get(path)))
        for path in sorted(BASE.keys() | after.keys())
        if BASE.get(path) != after.get(path)
    ]
    found = effect(files, side(BASE), side(after))
    return found.version, found.digest


@pytest.mark.parametrize("name", CASES)
def test_an_effect_is_what_it_was_when_it_was_approved(name: str) -> None:
    assert digest(CASES[name]) == (VERSION, DIGESTS[VERSION][name])
