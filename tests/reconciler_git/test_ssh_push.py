"""`git push` over ssh to inbox.git, with a real sshd."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest
from support.sshd import Sshd, make_sshd

from hive_reconciler.git.hive import Hive
from hive_reconciler.git.repositories import share_inbox
from hive_wire.paths import Layout

NOBODY, GROUP = 65534, 64123


@pytest.fixture
def sshd(place: Path) -> Sshd:
    folder = place / "sshd"
    folder.mkdir()
    return make_sshd(folder, "nobody", NOBODY, NOBODY, {"hive": GROUP})


def work(sshd: Sshd, where: Path, layout: Layout) -> subprocess.CompletedProcess[str]:
    """What docs/approvals.md says, from another machine."""
    trust = sshd.folder / "home/.gitconfig"
    trust.write_text(f"[safe]\n\tdirectory = {layout.hive_git}\n\tdirectory = {layout.inbox_git}\n")
    host = f"ssh://{sshd.user}@hive.test"
    return subprocess.run(
        [
            "sh", "-ec",
            f"""
            git clone -q -o applied {host}{layout.hive_git} {where}
            cd {where}
            echo "Be brief." > agents/hm1nd/prompt.md
            git -c user.name=ada -c user.email=ada@example.org commit -qam Shorter
            git push {host}{layout.inbox_git} HEAD:refs/heads/proposed/brief
            ! git push -q {host}{layout.hive_git} HEAD:refs/heads/applied
            """,
        ],
        capture_output=True, text=True, check=False, env=sshd.environment,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.root
async def test_a_push_over_ssh_becomes_a_proposal(place: Path, sshd: Sshd) -> None:
    layout = Layout.of(place / "root")
    hive = await Hive.open(layout, runtime_reads_nix=False)
    try:
        layout.root.chmod(0o755)
        layout.hive_git.chmod(0o755)
        await asyncio.to_thread(share_inbox, layout.inbox_git, GROUP)
        before = await hive.tip()
        done = await asyncio.to_thread(work, sshd, place / "clone", layout)
        assert done.returncode == 0, done.stderr
        assert "[new branch]      HEAD -> proposed/brief" in done.stderr
        (submitted,) = await hive.import_inbox()
        assert submitted.state == "open", submitted.message
        pinned = (await hive.proposal(submitted.n)).pinned
        assert (str(pinned.requester), pinned.source) == ("user/nobody", "brief")
        assert await hive.tip() == before
    finally:
        await hive.close()
