"""The hive command against a real reconciler over doubles, in a process of its own."""

import asyncio
import errno
import json
import os
import subprocess
import sys

import pytest

from hive_reconciler.app.cli import main
from hive_reconciler.app.client import CallFailed, Client
from hive_reconciler.app.commands import review
from hive_wire.paths import Layout

HIVE = (sys.executable, "-m", "hive_reconciler.app.cli")


def hive(layout, *args):
    """(exit status, stdout, stderr) of one command."""
    root = ("--root", str(layout.root)) if layout is not None else ()
    done = subprocess.run(
        [*HIVE, *args, *root],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
async def run(swarm, monkeypatch):
    """Commands against this swarm; its runtime directory is one that the command finds."""

    async def call(*args):
        return await asyncio.to_thread(hive, swarm.layout, *args)

    await swarm.until(lambda: swarm.is_ready("hm1nd"))
    return call


@pytest.mark.parametrize(
    "args",
    [
        ("bogus",),
        (),
        ("approve",),
        ("approve", "x"),
        ("approve", "0"),
        ("show", "9" * 20),
        ("answer", "9" * 5000, "yes"),
        ("deny", "1"),
        ("up", "--port", "x"),
        ("up", "--runtime", "magic"),
        ("up", "--allowed-host", "https://hive.example.org"),
        ("up", "--allowed-host", "hive.example.org:443"),
        ("up", "--base-path", "/a b"),
        ("up", "--proxy", "192.0.2.7"),
        ("up", "--proxy", "192.0.2.7/24", "--proxy-user-header", "Remote-User"),
        ("up", "--proxy", "192.0.2.7", "--proxy-user-header", "Remote-User:"),
        ("approve", "1", "--expect", "abc"),
        ("users", "add"),
        ("users", "--view-only"),
        ("reconcile", "--rev", "applied~1"),
        ("answer", "1"),
        ("accept", "main", "--reason", "x"),
    ],
)
def test_a_wrong_call_is_64_and_says_how(args):
    status, _, words = hive(None, *args)
    assert status == 64
    assert "usage: hive" in words


@pytest.mark.parametrize("command", ["status", "proposals", "send a b", "login", "reconcile"])
def test_without_a_swarm_each_says_what_to_do(tmp_path, command):
    name, *rest = command.split()
    done = subprocess.run(
        [*HIVE, name, *rest, "--root", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 1
    assert "hive up" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_root_that_was_meant_is_named(tmp_path):
    _, _, words = hive(Layout.of(tmp_path / "none"), "status")
    assert f"start it with: hive up --root {tmp_path / 'none'}, or name the root of" in words
    (tmp_path / "file").touch()
    _, _, words = hive(Layout.of(tmp_path / "file" / "root"), "status")
    assert "root: Not a directory; name another --root" in words
    for command in (("down",), ("backup", str(tmp_path / "new"))):
        status, _, words = hive(Layout.of(tmp_path / "none"), *command)
        assert status == 1
        assert (
            words == f"hive: there is no swarm at {tmp_path / 'none'}; name its root with --root\n"
        )


def test_the_root_of_another_user_is_no_place_to_start_one(layout, monkeypatch):
    layout.root.mkdir()
    monkeypatch.setattr("os.geteuid", lambda: layout.root.stat().st_uid + 1)
    with pytest.raises(CallFailed, match="belongs to another user: say it as that user"):
        Client(layout, "reconciler")


async def test_one_process_that_is_away_is_no_reason_to_start_another_swarm(swarm, run):
    swarm.layout.make_logs()
    (swarm.layout.logs / "dashboard.log").write_text("port 7000 is taken\n")
    status, _, words = await run("login")
    assert status == 1
    assert "the dashboard does not run here" in words
    assert "the rest of its swarm runs, and hive up (or systemd) starts it again" in words
    assert f"{swarm.layout.logs / 'dashboard.log'} says why" in words


def test_who_may_not_use_a_root_hears_what_to_do(tmp_path, monkeypatch, capsys):
    def closed(_layout, _options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path / "lock"))

    monkeypatch.setattr("hive_reconciler.app.down.down", closed)
    assert main(["down", "--root", str(tmp_path)]) == 1
    said = (
        f"hive: {tmp_path}/lock: Permission denied; use sudo, or a root of your own with --root\n"
    )
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("command", ["up --rehearse", "up --detach", "down", "backup {file}/x"])
def test_a_file_that_stands_in_the_way_is_named(tmp_path, command):
    file = tmp_path / "file"
    file.touch()
    for folder in ("hive.git", "keys"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    root = tmp_path / "root" if command.startswith("backup") else file
    done = subprocess.run(
        [*HIVE, *command.format(file=file).split(), "--root", str(root)],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"hive: {file}")
    assert done.stderr.count("\n") == 1


def test_the_end_of_input_is_no_consent(monkeypatch, capsys):
    def end(_):
        raise EOFError

    monkeypatch.setattr("builtins.input", end)
    monkeypatch.setattr(review, "proposal_text", lambda found: "what is asked")
    assert review._ask({"n": 1, "state": "open", "effect": {"digest": "d"}}) is None
    assert capsys.readouterr().out == "what is asked\n\n"


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['hive', '--help']\n"
        "from hive_reconciler.app.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'pygit2', 'pydantic', 'asyncio', 'watchdog'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=50)


async def test_status_reconcile_and_their_exit_codes(swarm, run):
    status, text, _ = await run("status", "--wait")
    assert status == 0
    assert "hm1nd" in text
    status, text, _ = await run("status", "--json")
    assert json.loads(text)["agents"][0]["name"] == "hm1nd"
    assert (await run("reconcile", "--dry-run", "--detailed-exitcode"))[0] == 0
    swarm.runtime.failures["h-scout"] = swarm_failure()
    answer = await swarm.host.request("spawn", {"name": "scout", "description": ""})
    rev = (await swarm.host.request("proposal", {"n": answer["proposal"]}))["commit"]
    status, text, _ = await run("reconcile", "--dry-run", "--rev", rev, "--detailed-exitcode")
    assert status == 2
    assert "+ scout (create h-scout)" in text
    assert (await run("reconcile", "--dry-run", "--rev", rev))[0] == 0
    status, _, words = await run("reconcile", "--dry-run", "--rev", "nonsense")
    assert status == 1
    assert "nonsense" in words
    status, text, _ = await run("reconcile", "--dry-run", "--rev", rev, "--json")
    plan = json.loads(text)
    assert (plan["changes"], plan["actions"][0]["kind"]) == (1, "create")


async def test_doctor_asks_for_the_cli_where_an_agent_needs_it(swarm, run, monkeypatch, tmp_path):
    monkeypatch.setenv("HIVE_CLAUDE", str(tmp_path / "none"))
    status, text, _ = await run("doctor")
    assert status == 0, "a swarm that rehearses is fit without it"
    missing = f"HIVE_CLAUDE: no Claude Code CLI at {tmp_path / 'none'}"
    assert f"ok  Claude Code CLI: {missing}; only engine" in text
    asked = {"name": "scout", "description": "", "settings": {"engine": "claude"}}
    await swarm.approve((await swarm.host.request("spawn", asked))["proposal"])
    await swarm.until(lambda: swarm.is_ready("scout"))
    status, text, _ = await run("doctor")
    assert status == 1
    assert f"!!  Claude Code CLI: {missing}\n      npm install -g @anthropic-ai/" in text


async def test_a_stalled_agent_ends_the_wait_with_1(swarm, run):
    swarm.runtime.failures["h-scout"] = swarm_failure()
    answer = await swarm.host.request("spawn", {"name": "scout", "description": ""})
    await swarm.approve(answer["proposal"])
    await swarm.until(
        lambda: (
            swarm.condition("scout", "Stalled")
            and swarm.condition("scout", "Stalled").status == "True"
        )
    )
    status, text, _ = await run("status", "--wait")
    assert status == 1
    assert "Stalled/UnsupportedNetwork: there is no network" in text


@pytest.mark.slow
@pytest.mark.parametrize("odd", ["9" * 5000, "[" * 5000])
async def test_a_setting_that_no_toml_reader_takes_is_refused_by_name(swarm, run, odd):
    status, _, words = await run("spawn", "scout", "--set", f"limits.tasks={odd}")
    assert status == 1
    assert "limits.tasks" in words


@pytest.mark.slow
async def test_review_from_the_command_line(swarm, run):
    status, text, _ = await run("spawn", "scout", "--description", "x", "--set", "limits.tasks=99")
    assert (status, "proposal 1" in text) == (0, True)
    assert "scout" in (await run("proposals"))[1]
    status, text, _ = await run("show", "1")
    assert "agents/scout/agent.toml" in text
    assert "Plan for" in text
    status, _, words = await run("approve", "1")
    assert status == 1
    assert "--expect DIGEST" in words
    status, _, words = await run("approve", "1", "--expect", "0" * 64)
    assert status == 1
    digest = json.loads((await run("show", "1", "--json"))[1])["effect"]["digest"]
    status, text, _ = await run("approve", "1", "--expect", digest)
    assert (status, "merged" in text) == (0, True)
    await swarm.until(lambda: swarm.is_ready("scout"))
    assert swarm.runtime.specs["h-scout"].tasks == 99
    assert (await run("logs", "scout"))[1] == "h-scout says hello\n"
    assert (await run("stop", "scout"))[0] == 0
    await swarm.until(lambda: swarm.condition("scout", "Ready").reason == "Stopped")
    assert (await run("status", "--wait"))[0] == 0
    await run("spawn", "other")
    assert (await run("deny", "3", "--reason", "no need"))[0] == 0
    status, _, words = await run("deny", "3", "--reason", "twice")
    assert status == 1
    assert "no need" in (await run("show", "3"))[1]
    assert "nothing waits" in (await run("proposals"))[1]
    await run("spawn", "third")
    assert (await run("withdraw", "4"))[0] == 0


async def test_names_and_numbers_that_do_not_exist(run):
    for args in (("show", "77"), ("stop", "nobody"), ("logs", "nobody"), ("spawn", "../x")):
        status, _, words = await run(*args)
        assert status == 1
        assert words.startswith("hive: ")
        assert words.count("\n") == 1


def swarm_failure():
    from hive_reconciler.runtime.base import RuntimeFailure

    return RuntimeFailure("UnsupportedNetwork", "there is no network", permanent=True)
