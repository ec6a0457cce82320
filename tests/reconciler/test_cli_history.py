"""Going back, taking over, and proving the log, by the real hive command over real git."""

import asyncio
import json
import subprocess
import sys

import pytest
from support.git_work import Clone, git

pytestmark = pytest.mark.slow
HIVE = (sys.executable, "-m", "hive_reconciler.app.cli")


def hive(layout, *args):
    """(exit status, stdout, stderr) of one command."""
    done = subprocess.run(
        [*HIVE, *args, "--root", str(layout.root)],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
async def run(swarm):
    async def call(*args, status=0):
        found, out, words = await asyncio.to_thread(hive, swarm.layout, *args)
        assert found == status, words
        return out or words

    await swarm.until(lambda: swarm.is_ready("hm1nd"))
    return call


@pytest.fixture
def approve(run):
    async def approve(n, *args):
        digest = json.loads(await run("show", str(n), "--json"))["effect"]["digest"]
        return await run("approve", str(n), "--expect", digest, *args)

    return approve


@pytest.mark.timeout(120)
async def test_there_is_a_way_back_from_each_merge(swarm, run, approve):
    await run("spawn", "scout", "--set", 'may_send_to=["hm1nd"]', "--set", "description=eyes")
    merge = (await approve(1)).split()[-1]
    await swarm.until(lambda: swarm.is_ready("scout"))
    uid = swarm.uid("scout")

    assert "proposal 2 waits for the operator" in await run("retire", "scout", "--reason", "done")
    await approve(2)
    await swarm.until(lambda: "h-scout" not in swarm.runtime.containers)

    assert "proposal 3 waits" in await run("revive", "scout")
    await approve(3)
    await swarm.until(lambda: swarm.is_ready("scout"))
    assert swarm.uid("scout") == uid

    await run("stop", "scout")
    assert "proposal 5 waits" in await run("rollback", "scout", merge, "--reason", "as it was")
    assert "as it was" in await run("show", "5")
    await approve(5)
    await swarm.until(lambda: swarm.is_ready("scout"))

    assert "proposal 6 waits" in await run("revert", merge)
    assert "removes the agent scout" in await run("show", "6")
    assert "is withdrawn" in await run("withdraw", "6")
    assert "withdrawn already" in await run("withdraw", "6", status=1)

    assert "merged by policy/power" in await run("revert", "5")  # only its state: a class
    await swarm.until(lambda: swarm.condition("scout", "Ready").reason == "Stopped")
    assert "later" in await run("revert", merge, status=1)  # the file is another by now
    assert ", 0 wrong" in await run("verify")


async def test_ways_back_that_lead_nowhere(run):
    for args in (
        ("revert", "77"),
        ("revert", "abcdef0"),
        ("rollback", "hm1nd", "abcdef0"),
        ("revive", "nobody"),
        ("revive", "hm1nd"),
        ("retire", "hm1nd"),
    ):
        words = await run(*args, status=1)
        assert words.startswith(("hive: ", "proposal ")), words
        assert words.count("\n") == 1
    for args in (("revert", "scout"), ("rollback", "hm1nd", "main"), ("revert", "abc")):
        assert "usage: hive" in await run(*args, status=64)


async def test_a_foreign_commit_is_taken_over_by_a_person_only(swarm, run, tmp_path):
    clone = Clone(swarm.layout.hive_git, tmp_path / "clone")
    foreign = clone.change("agents/hm1nd/prompt.md", "Obey.\n", "a helpful change")
    git(clone.path, "push", "-q", str(swarm.layout.hive_git), "HEAD:refs/heads/x")
    git(swarm.layout.hive_git, "update-ref", "refs/heads/applied", foreign)
    await swarm.until(lambda: swarm.condition("hm1nd", "Stalled").reason == "UnrecordedCommit")
    proof = json.loads(await run("verify", "--json", status=1))
    assert (proof["ok"], proof["findings"][0]["commit"]) == (False, foreign)
    assert "1 wrong" in await run("verify", status=1)

    assert "hive accept" in await run("spawn", "scout", status=1)
    assert "not in the first-parent history" in await run(
        "accept", "0" * 40, "--reason", "x", status=1
    )
    await run("accept", foreign[:12], "--reason", "I looked at it")  # as verify names it
    await swarm.until(lambda: swarm.is_ready("hm1nd"))
    assert "I looked at it" in await run("verify")


@pytest.fixture
async def without_three(swarm, run, approve, tmp_path):
    """Proposal 4 takes out three agents of four."""
    names = ("a1", "a2", "a3")
    for n, name in enumerate(names, 1):
        await run("spawn", name)
        await approve(n)
    await swarm.until(lambda: all(swarm.is_ready(name) for name in names))
    clone = Clone(swarm.layout.hive_git, tmp_path / "clone")
    git(clone.path, "rm", "-rq", *(f"agents/{name}" for name in names))
    clone.commit("Retire the three")
    git(clone.path, "push", "-q", str(swarm.layout.inbox_git), "HEAD:refs/heads/proposed/fewer")
    async with asyncio.timeout(20):
        while "Retire the three" not in await run("proposals"):
            pass
    shown = await run("show", "4")
    assert shown.startswith("Proposal 4: apply swarm, open")
    assert "removes the agent a2" in shown


async def test_many_deletions_need_their_number(swarm, run, approve, without_three):
    await approve(4, "--allow-prune", "3")
    await swarm.until(lambda: swarm.runtime.containers.keys() == {"hm1nd"})
    assert "Allow-Prune: 3" in git(swarm.layout.hive_git, "log", "-1", "--format=%B", "applied")


async def test_without_their_number_the_containers_stay(swarm, run, approve, without_three):
    await approve(4)
    everyone = {"hm1nd", "h-a1", "h-a2", "h-a3"}
    async with asyncio.timeout(20):
        while (stale := json.loads(await run("status", "--json"))["stale"]) is None:
            pass
    assert stale.startswith("PruneGuard: ")
    assert "--allow-prune 3" in stale
    await run("reconcile")
    assert swarm.runtime.containers.keys() == everyone
    assert "proposal 5 waits" in await run("revert", "4")
    await approve(5)
    async with asyncio.timeout(20):
        while json.loads(await run("status", "--json"))["stale"] is not None:
            pass
    assert swarm.runtime.containers.keys() == everyone
    assert "6 commits down" in (proof := await run("verify")), proof


async def test_an_operator_signs_an_approval(swarm, run, approve, tmp_path):
    key = tmp_path / "ada"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)]
    await asyncio.to_thread(subprocess.run, command, check=True)
    line = f"ada {key.with_suffix('.pub').read_text().strip()}"
    clone = Clone(swarm.layout.hive_git, tmp_path / "clone")
    text = clone.read("hive.toml").replace("[policy]\n", f'[policy]\nsigners = ["{line}"]\n')
    clone.change("hive.toml", text, "Let ada sign")
    git(clone.path, "push", "-q", str(swarm.layout.inbox_git), "HEAD:refs/heads/proposed/ada")
    async with asyncio.timeout(20):
        while "Let ada sign" not in await run("proposals"):
            pass
    await approve(1)
    await run("spawn", "scout")
    digest = json.loads(await run("show", "2", "--json"))["effect"]["digest"]
    words = await run(
        *("approve", "2", "--expect", digest, "--sign-with", str(tmp_path / "none")), status=1
    )
    assert words.startswith("hive: ssh-keygen failed")
    assert "is merged" in await approve(2, "--sign-with", str(key))
    proof = json.loads(await run("verify", "--json"))
    assert (proof["ok"], proof["merges"], proof["signed"]) == (True, 2, 1)
    assert "2 proven (1 signed by an operator), 1 accepted" in await run("verify")


async def test_hooks_of_the_inbox_do_not_run(swarm, run, tmp_path):
    """Whoever may push may write hooks, and git of the reconciler meets them."""
    hooks = swarm.layout.inbox_git / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in (
        *("pre-receive", "update", "post-receive", "post-update", "reference-transaction"),
        *("proc-receive", "push-to-checkout", "post-checkout", "fsmonitor-watchman"),
    ):
        (hooks / name).write_text(f"#!/bin/sh\nid -u > {tmp_path}/ran-$$\n")
        (hooks / name).chmod(0o755)
    for key in (
        *("core.fsmonitor", "uploadpack.packObjectsHook", "core.sshCommand"),
        *("core.alternateRefsCommand", "gpg.program", "diff.external", "core.pager"),
    ):
        git(swarm.layout.inbox_git, "config", key, str(hooks / "fsmonitor-watchman"))
    clone = Clone(swarm.layout.hive_git, tmp_path / "clone")
    oid = clone.change("agents/hm1nd/prompt.md", "Be brief.\n", "Shorter")
    pack = clone.pack(oid, ())  # brought in without a push, so that only we could run a hook
    git(swarm.layout.inbox_git, "index-pack", "--stdin", "--strict", stdin=pack)
    ref = swarm.layout.inbox_git / "refs/heads/proposed/brief"
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.write_text(f"{oid}\n")
    async with asyncio.timeout(20):
        while "Shorter" not in await run("proposals"):
            pass
    assert not list(tmp_path.glob("ran-*"))


def test_without_a_root_verify_says_so(layout):
    status, _, words = hive(layout, "verify")
    assert status == 1
    assert words.count("\n") == 1
    assert "nothing was started with this root" in words
