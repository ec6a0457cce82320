"""What was approved once recomputes for ever: the digests of effects are what they were.

A digest here changes only together with `effect.VERSION`, and then the function of before is
kept under its number, or `hive verify` would call every merge of the past wrong.
"""

from __future__ import annotations

import hashlib

import pytest

from hive_reconciler.model.desired import Entry, Invalid, Valid
from hive_reconciler.model.effect import VERSION, VERSIONS, Effect, Side, effect
from hive_reconciler.model.tree import Blob, FileChange
from hive_wire.parse import SpecError, parse_agent, parse_hive

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
    "beside Nix": {
        "agents/scout/packages.json": '["jq"]\n',
        "agents/scout/more/deep.toml": "x = 1\n",
    },
    "other role text": {
        "agents/scout/agent.toml": SCOUT + 'prompt = "role.md"\n',
        "agents/scout/role.md": "Do.\n",
        "agents/scout/prompt.md": None,
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
        "beside Nix": "1b26fdd90afecb43de145a77ba6cbd518065d63286c039675b45a4d52a4ef9da",
        "other role text": "72e0c3c9dfdeb1ae8b8b5d8fba1370f3e9e543b4d0ea9082489810a99965d537",
        "policy, defaults, templates": "87173c5b82c7416f8fdae97b514794acc113eceadd3d38117cbcd38474df8f28",
    },
    2: {
        "nothing": "0ad3cedf0db18e91f83591557b031e3f2a7a2f2bc2235b57d5031d362c39cd1e",
        "a spawn": "1b27b290c773c8ddc7a3572b1cfc897e87af0c26844fc85833a2e2a884a30eb7",
        "a stop": "177d3c070c9388b79c046a073deac0f9afe3722429d4898d08d26a35def5dfd4",
        "a restart": "3d36129b3cfa068ab2a2311a6e6d47ca397365f204bf79f1b779a09ee48ed284",
        "every key": "63fc147721e5c01d2fee5defddbe3d82f55d88da9448fe37fef40f43e9c1eac7",
        "files": "681cea142610ada249b01b14c231d7c7c7492b4785611525643452eab72f546d",
        "retired": "ac5777cb575457ae18ec2e2fa646b33320cd744a1ca3ce2c5d9bee9eecf3230e",
        "renamed": "a80a8342f4b96351e7f8c9007c8266462306577983161721fa1014f9a744ad1e",
        "beside Nix": "df191b9dfb6e7888487020cb0dfb95257bce93d05141cb1b1018242c3b250cc6",
        "other role text": "c7821051948ecedd9eababdcfc1bd0b019cc147a26a441cc71f67c9e7d160a23",
        "policy, defaults, templates": "b61ff2f9a73066a98dcfe274fcf37529170dd2a34a0054d293242cb646f0269d",
    },
}
# What changes of many mixes have in each: (path, texts).
PARTS: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    ("hive.toml", (HIVE + 'model = "other"\n', HIVE.replace("8G", "4G"))),
    ("agents/scout/agent.toml", (ALL_KEYS, "restarts = 1\n" + SCOUT, "prompt = 3\n", None)),
    ("agents/scout/prompt.md", ("Look better.\n", None)),
    ("agents/scout/role.md", ("Do.\n",)),
    ("agents/scout/agent.nix", ("{ x = 1; }\n", None)),
    ("agents/scout/lib/more.nix", ("{ }\n",)),
    ("agents/scout/packages.json", ("[ ]\n", '["jq"]\n')),
    ("agents/scout/network.mode", ("host\n",)),
    ("agents/hm1nd/notes.txt", ("x\n",)),
    ("agents/hm1nd/agent.toml", (MANAGER + 'model = "other"\n',)),
    ("agents/new/agent.toml", ('uid = "cccccccccccc"\n', SCOUT)),
    ("agents/new/prompt.md", ("Be.\n",)),
    ("agents/new/data/x.csv", ("1,2\n",)),
    ("modules/default.nix", ("{ }\n",)),
)
MIXES = 500
MIXED = {
    1: "cd78ed6209f9c99d5c8a2d76fb0c7e354ac48afbc0646c0a2ab9abfc7ffb8a5b",
    2: "55dfe3d26c591e219ace043aeff27d36c5850798799643084a2991d2ab3e7c66",
}


def side(tree: Tree) -> Side:
    hive = parse_hive(tree["hive.toml"].encode())
    agents: dict[str, Entry] = {}
    for path, text in tree.items():
        parts = path.split("/")
        if len(parts) == 3 and parts[2] == "agent.toml":
            try:
                spec = parse_agent(text.encode(), path, hive.defaults)
                agents[parts[1]] = Valid(spec, "", "", "")
            except SpecError as error:
                agents[parts[1]] = Invalid(error.problems, "")
    return Side(hive, agents)


def blob(text: str | None) -> Blob | None:
    if text is None:
        return None
    data = text.encode()
    return Blob(0o100644, hashlib.sha1(data, usedforsecurity=False).hexdigest(), len(data), data)


def told(change: dict[str, str | None], version: int, *, back: bool = False) -> Effect:
    """The effect of a change of BASE, or of what takes it back."""
    after: Tree = {p: t for p, t in {**BASE, **change}.items() if t is not None}
    old, new = (after, BASE) if back else (BASE, after)
    files = [
        FileChange(path, blob(old.get(path)), blob(new.get(path)))
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]
    return effect(files, side(old), side(new), version)


def mix(number: int) -> dict[str, str | None]:
    """A change of some files, always the same for one number."""
    bits = hashlib.sha256(str(number).encode()).digest()
    pairs = zip(bits[::2], bits[1::2], PARTS, strict=False)
    return {path: texts[b % len(texts)] for a, b, (path, texts) in pairs if a % 3 == 0}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", CASES)
def test_an_effect_is_what_it_was_when_it_was_approved(name: str, version: int) -> None:
    found = told(CASES[name], version)
    assert (found.version, found.digest) == (version, DIGESTS[version][name])


@pytest.mark.parametrize("version", VERSIONS)
def test_so_is_each_of_many(version: int) -> None:
    digests = "".join(
        told(mix(number), version, back=back).digest
        for number in range(MIXES)
        for back in (False, True)
    )
    assert hashlib.sha256(digests.encode()).hexdigest() == MIXED[version]


def test_what_is_new_has_the_last_version() -> None:
    found = effect([], side(BASE), side(BASE))
    assert found.version == VERSION == max(DIGESTS) == max(MIXED)
