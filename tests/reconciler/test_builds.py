"""What Nix says of a proposal, with a real nix: on the card, to who asks, and before a consent."""

import asyncio
import os
import shutil

import pytest
from support.git_work import Clone
from support.needs import lacking
from support.nix_env import NixUnavailable
from support.nix_host import GLUE, NixHost, nix_host
from support.pushing import pushed

from hive_reconciler.app.commands.review import proposal_text
from hive_wire.rpc_errors import BUSY, RpcError

AGENT = """{ pkg, ... }: {
  environment.systemPackages = [ (pkg "git" "2.2") (pkg "jq" "1.7") ];
  systemd.units."a.service".text = "x";
}
"""
BETTER = AGENT.replace("2.2", "2.3").replace('(pkg "jq" "1.7")', "").replace('"x"', '"y"')
BROKEN = AGENT.replace("(pkg ", "(pgk ", 1)
SLOW = "_: builtins.foldl' builtins.add 0 (builtins.genList (n: n) 300000000)\n"
ENDLESS = """_: builtins.foldl'
  (a: _: builtins.foldl' builtins.add a (builtins.genList (n: n) 10000))
  0
  (builtins.genList (n: n) 100000)
"""
NIX = "agents/hm1nd/agent.nix"

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def host():
    try:
        with nix_host() as found:
            yield found
    except NixUnavailable as problem:
        lacking(str(problem))


@pytest.fixture
def nix(host: NixHost, layout, monkeypatch):
    """What evaluates the proposals of this test's swarm."""
    monkeypatch.setenv("PATH", f"{host.programs}:{os.environ['PATH']}")
    return host.evaluator(layout.hive_git, layout.root / "builds")


@pytest.fixture
async def nix_swarm(swarm, nix):
    await swarm.close()
    swarm.nix = nix
    await swarm.open()
    return swarm


@pytest.fixture
async def asked(nix_swarm, tmp_path):
    """Submits, as the manager does, a commit that writes files of one agent."""
    swarm = nix_swarm
    await swarm.until(lambda: swarm.core.picture.desired is not None)
    clone = await asyncio.to_thread(Clone, swarm.layout.hive_git, tmp_path / "clone")
    manager = swarm.uid("hm1nd")

    async def submit(files, agent="hm1nd"):
        await asyncio.to_thread(clone.pull)
        for path, text in files.items():
            clone.write(path, text)
        commit = await asyncio.to_thread(clone.commit)
        swarm.broker.packs[commit] = (commit, await asyncio.to_thread(clone.pack, commit, ()))
        wish = {"kind": "apply", "agent": agent, "commit": commit, "description": ""}
        return await swarm.requests.request("submit", {"uid": manager, **wish})

    return submit


async def judged(swarm, n):
    """The card, once nothing is evaluated any more."""
    async with asyncio.timeout(60):
        while True:
            shown = await swarm.host.request("proposal", {"n": n})
            if shown["build"] is None or shown["build"]["state"] != "running":
                return shown
            await asyncio.sleep(0.05)


def runs(host):
    return host.log.read_text().splitlines()


async def test_a_card_shows_packages_and_units_before_anything_is_built(host, nix_swarm, asked):
    swarm = nix_swarm
    answer = await asked({NIX: AGENT})
    assert answer["message"].endswith("waits for the operator, once its Nix files are evaluated")
    shown = await swarm.host.request("proposal", {"n": answer["proposal"]})
    assert shown["build"]["state"] == "running"
    with pytest.raises(RpcError) as refused:
        await swarm.approve(answer["proposal"])
    assert refused.value.code == BUSY
    assert "Nix still evaluates" in refused.value.message

    shown = await judged(swarm, answer["proposal"])
    assert shown["build"] == {
        "state": "ok",
        "reason": "",
        "left_out": 0,
        "systems": [
            {
                "container": "hm1nd",
                "changed": True,
                "packages": [
                    {"name": "git", "before": "2.0", "after": "2.2"},
                    {"name": "jq", "before": None, "after": "1.7"},
                ],
                "units": [{"name": "a.service", "change": "added"}],
                "to_build": 3,
                "to_fetch": 0,
            }
        ],
    }
    text = proposal_text(shown)
    assert "~ git 2.0 → 2.2" in text
    assert "+ jq 1.7" in text
    assert "+ unit a.service" in text
    who = {line.split()[0] for line in runs(host)}
    assert who == {"65534" if os.geteuid() == 0 else str(os.geteuid())}
    assert {line.split()[1] for line in runs(host)} == {"0"}, "a run saw a network"
    await swarm.approve(answer["proposal"])

    answer = await asked({NIX: BETTER})
    (system,) = (await judged(swarm, answer["proposal"]))["build"]["systems"]
    assert system["packages"] == [
        {"name": "git", "before": "2.2", "after": "2.3"},
        {"name": "jq", "before": "1.7", "after": None},
    ]
    assert system["units"] == [{"name": "a.service", "change": "changed"}]


async def test_a_file_beside_agent_nix_is_evaluated_as_it_is(nix_swarm, asked):
    swarm, beside = nix_swarm, "agents/hm1nd/packages.json"
    listed = "builtins.fromJSON (builtins.readFile ./packages.json)"
    reads = f'{{ pkg, ... }}: {{ environment.systemPackages = map (n: pkg n "1") ({listed}); }}\n'
    n = (await asked({NIX: reads, beside: '["git"]\n'}))["proposal"]
    assert (await judged(swarm, n))["build"]["state"] == "ok"
    await swarm.approve(n)
    shown = await judged(swarm, (await asked({beside: '["git", "nmap"]\n'}))["proposal"])
    (change,) = shown["effect"]["changes"]
    assert change["risk"] == "high"
    (system,) = shown["build"]["systems"]
    assert system["packages"] == [{"name": "nmap", "before": None, "after": "1"}]
    shown = await judged(swarm, (await asked({beside: '["git", nmap]\n'}))["proposal"])
    assert shown["state"] == "rejected"


async def test_what_does_not_evaluate_is_rejected_and_its_author_told(nix_swarm, asked):
    swarm = nix_swarm
    n = (await asked({NIX: BROKEN}))["proposal"]
    shown = await judged(swarm, n)
    assert shown["state"] == "rejected"
    assert shown["by"] == "checks"
    assert shown["reason"] == (
        "does not evaluate: agents/hm1nd/agent.nix:2: undefined variable 'pgk'"
    )
    await swarm.until(lambda: f"approval:{n}" in swarm.broker.system)
    told = swarm.broker.system[f"approval:{n}"]
    assert told["to"] == "hm1nd"
    assert "undefined variable 'pgk'" in told["body"]


@pytest.mark.parametrize(
    ("agent_nix", "said"),
    [
        ('{ pkg, ... }: import (pkg "x" "1")', "import-from-derivation"),
        ("_: { a = builtins.readFile /etc/hostname; }.a", "forbidden in pure evaluation mode"),
        ('_: builtins.fetchurl "http://192.0.2.1/x"', "requires a 'sha256'"),
        ("let f = n: 1 + f (n + 1); in _: f 0", "stack overflow"),
        ("_: {", "syntax error"),
    ],
)
async def test_what_evaluation_may_not_do(nix_swarm, asked, agent_nix, said):
    swarm = nix_swarm
    shown = await judged(swarm, (await asked({NIX: agent_nix + "\n"}))["proposal"])
    assert shown["state"] == "rejected"
    assert said in shown["reason"]


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [
        ("MEMORY", 1 << 30, "memory to evaluate"),
        ("CPU_SECONDS", 1, "takes more than 1 s of computing"),
        ("SECONDS", 2.0, "takes longer than 2 s to evaluate"),
    ],
)
async def test_limits_end_an_evaluation(nix_swarm, asked, monkeypatch, limit, value, said):
    swarm = nix_swarm
    n = (await asked({NIX: AGENT}))["proposal"]
    assert (await judged(swarm, n))["build"]["state"] == "ok"  # it is in nobody's way later
    await swarm.approve(n)
    monkeypatch.setattr(f"hive_reconciler.runtime.nix_eval.{limit}", value)
    forever = ENDLESS if limit == "SECONDS" else SLOW
    shown = await judged(swarm, (await asked({NIX: forever}))["proposal"])
    assert shown["state"] == "rejected"
    assert said in shown["reason"]
    assert not any((swarm.layout.root / "builds").iterdir())


async def test_a_fault_of_what_is_applied_rejects_nobody(host, nix_swarm, asked):
    swarm = nix_swarm
    flake = host.hyperhive / "flake.nix"
    good = flake.read_text()
    flake.write_text('{ outputs = _: { lib.mkSwarm = throw "a broken hyperhive"; }; }')
    try:
        shown = await judged(swarm, (await asked({NIX: AGENT}))["proposal"])
    finally:
        flake.write_text(good)
    assert shown["state"] == "open"
    assert shown["build"]["state"] == "not-built"
    assert "what is applied does not evaluate either" in shown["build"]["reason"]
    assert "a broken hyperhive" in shown["build"]["reason"]
    assert "not built here" in proposal_text(shown)
    await swarm.approve(shown["n"])


async def test_words_of_an_author_open_no_network(host, nix_swarm, asked):
    swarm = nix_swarm
    nix = '_: throw "unable to download what you want"\n'
    shown = await judged(swarm, (await asked({NIX: nix}))["proposal"])
    assert shown["state"] == "open"
    assert shown["build"]["state"] == "not-built"
    assert "unable to download what you want" in shown["build"]["reason"]
    assert {line.split()[1] for line in runs(host)} == {"0"}, "a run saw a network"


async def test_a_system_that_is_no_derivation_is_refused(nix_swarm, asked, tmp_path):
    """Its path is an argument of a program."""
    swarm = nix_swarm
    flake = GLUE.replace(
        "hyperhive.lib.mkSwarm { src = ./.; system",
        '{ hm1nd.config = { environment.systemPackages = [ ]; system.build.toplevel.drvPath = "--help"; }; }; z = { z',
    )
    assert flake != GLUE
    n = await pushed(
        swarm.layout, swarm.host, tmp_path, "argument", lambda c: c.write("flake.nix", flake)
    )
    shown = await judged(swarm, n)
    assert shown["state"] == "rejected"
    assert "is no system" in shown["reason"]


async def test_peoples_proposals_come_first(host, nix_swarm, asked):
    swarm = nix_swarm
    before = len(runs(host))
    slow = (await asked({NIX: ENDLESS}))["proposal"]
    await swarm.until(lambda: len(runs(host)) > before)
    mine = (await swarm.host.request("spawn", {"name": "scout"}))["proposal"]
    assert (await judged(swarm, mine))["build"]["state"] == "ok"
    assert (await swarm.host.request("proposal", {"n": slow}))["build"]["state"] == "running"


async def test_a_withdrawn_proposal_is_evaluated_no_longer(host, nix_swarm, asked):
    swarm = nix_swarm
    before = len(runs(host))
    n = (await asked({NIX: SLOW}))["proposal"]
    work = swarm.layout.root / "builds"
    await swarm.until(lambda: len(runs(host)) > before)
    await swarm.host.request("withdraw", {"n": n})
    await swarm.until(lambda: not any(work.iterdir()))
    again = (await asked({NIX: AGENT}))["proposal"]
    assert (await judged(swarm, again))["build"]["state"] == "ok"


async def test_a_result_is_kept_over_restarts_and_changes_elsewhere(host, nix_swarm, asked):
    swarm = nix_swarm
    n = (await asked({NIX: AGENT}))["proposal"]
    scout = (await swarm.host.request("spawn", {"name": "scout"}))["proposal"]
    await judged(swarm, scout)
    await swarm.approve(scout)
    before = (await judged(swarm, n))["build"]
    assert before["state"] == "ok"
    count = len(runs(host))
    await swarm.host.request("power", {"agent": "scout", "action": "restart"})
    await swarm.close()
    await swarm.open()
    await swarm.until(lambda: swarm.core.picture.desired is not None)
    assert (await swarm.host.request("proposal", {"n": n}))["build"] == before
    assert len(runs(host)) == count


async def test_a_lock_that_does_not_fit(nix_swarm, tmp_path):
    swarm = nix_swarm
    await swarm.until(lambda: swarm.core.picture.desired is not None)
    flake = GLUE.replace("inputs.", 'inputs.more.url = "github:a/b";\n  inputs.', 1)
    n = await pushed(
        swarm.layout, swarm.host, tmp_path, "lock", lambda c: c.write("flake.nix", flake)
    )
    shown = await judged(swarm, n)
    assert shown["state"] == "rejected"
    assert "flake.lock does not fit flake.nix" in shown["reason"]


async def test_shared_files_concern_all_agents_but_those_that_go(nix_swarm, tmp_path):
    swarm = nix_swarm
    await swarm.until(lambda: swarm.core.picture.desired is not None)
    for name in ("cook", "scout"):
        n = (await swarm.host.request("spawn", {"name": name}))["proposal"]
        await judged(swarm, n)
        await swarm.approve(n)

    def edit(clone):
        shutil.rmtree(clone.path / "agents" / "cook")
        clone.write("modules/default.nix", "{ }\n")

    n = await pushed(swarm.layout, swarm.host, tmp_path, "shared", edit)
    build = (await judged(swarm, n))["build"]
    assert build["state"] == "ok", build
    assert [(s["container"], s["changed"]) for s in build["systems"]] == [
        ("hm1nd", False),
        ("h-scout", False),
    ]
