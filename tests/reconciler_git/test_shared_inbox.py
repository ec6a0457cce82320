"""People of a group push to an inbox that root made; they cannot make git run code for others."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hive_reconciler.git.hive import Hive
from hive_reconciler.git.repositories import share_inbox
from hive_wire.paths import Layout

pytestmark = pytest.mark.root

PUSHER, GROUP = 65534, 64123
PUSH = """
set -e
git clone -q -o applied "$1/hive.git" "$HOME/clone"
cd "$HOME/clone"
echo "Be brief." > agents/hm1nd/prompt.md
git commit -qam Shorter
git push -q "$1/inbox.git" HEAD:refs/heads/proposed/brief
"""


def as_pusher(home: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    home.mkdir(exist_ok=True)
    os.chown(home, PUSHER, GROUP)
    return subprocess.run(
        ["sh", "-c", script, "sh", *arguments],
        user=PUSHER,
        group=GROUP,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
        env={
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "GIT_CONFIG_NOSYSTEM": "1",
            **{f"GIT_{who}_NAME": "ada" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": "ada@example.org" for who in ("AUTHOR", "COMMITTER")},
        },
    )


async def test_a_member_pushes_and_plants_nothing(place: Path) -> None:
    layout = Layout.of(place / "root")
    hive = await Hive.open(layout, runtime_reads_nix=False)
    try:
        layout.root.chmod(0o755)
        layout.hive_git.chmod(0o755)
        share_inbox(layout.inbox_git, GROUP)
        trust = f"""
git config --global --add safe.directory {layout.hive_git}
git config --global --add safe.directory {layout.inbox_git}
"""
        done = as_pusher(place / "home", trust + PUSH, str(layout.root))
        assert done.returncode == 0, done.stderr
        (submitted,) = await hive.import_inbox()
        assert submitted.state == "open", submitted.message
        proposal = await hive.proposal(submitted.n)
        assert str(proposal.pinned.requester) == "user/nobody"
        for bad in ("mkdir hooks", "echo > config", "mv config x", "echo > HEAD", "mkdir refs/x"):
            denied = as_pusher(place / "home", f"cd {layout.inbox_git} && {bad}")
            assert "denied" in denied.stderr.lower(), (bad, denied)
    finally:
        await hive.close()


async def test_who_is_no_member_sees_nothing(place: Path) -> None:
    layout = Layout.of(place / "root")
    hive = await Hive.open(layout, runtime_reads_nix=False)
    layout.root.chmod(0o755)
    share_inbox(layout.inbox_git, 0)
    assert "denied" in as_pusher(place / "home", f"ls {layout.inbox_git}").stderr.lower()
    await hive.close()
