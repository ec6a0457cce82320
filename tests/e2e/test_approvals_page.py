"""docs/approvals.md, played from top to bottom: every command on it is run, and prints what the
page says. With HIVE_REWRITE in the environment the page gets what was printed."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from support.git_work import ENVIRONMENT, git
from support.swarm import Swarm, swarm

pytestmark = [pytest.mark.timeout(240), pytest.mark.slow, pytest.mark.root]

PAGE = Path(__file__).parents[2] / "docs/approvals.md"
ROOT = "/var/lib/hyperhive"  # as the page has it
VARIES = (
    (re.compile(r"\b[0-9a-f]{64}\b"), "DIGEST"),
    (re.compile(r"\b[0-9a-f]{40}\b"), "OID"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "SHORT"),
    (re.compile(r'(uid = "|agent/hm1nd/)[a-z0-9]{12}'), r"\1UID"),
    (re.compile(r"^[0-9a-f]{7} (?=Merge)", re.MULTILINE), "ABBREVIATED "),
    (re.compile(r"\bAGE\b|\b\d+ s\b"), "AGE"),
    (re.compile(r" +"), " "),
)


class Player:
    """The blocks of the page that begin with `$ `, in their order."""

    def __init__(self, hive: Swarm, folder: Path) -> None:
        self.hive, self.folder, self._where = hive, folder, folder
        self.page = PAGE.read_text()
        self._left = [
            part
            for block in re.findall(r"```\n\$ (.*?)```", self.page, re.DOTALL)
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)
            if "ssh://" not in part  # tests/reconciler_git/test_ssh_push.py plays these
        ]

    async def plays(self, begins: str, digest_of: int | None = None) -> None:
        """The next command is one that `begins` so, and prints what stands under it. The digest
        in it stands for that of the proposal `digest_of`."""
        part = self._left.pop(0)
        command, _, wanted = part.partition("\n")
        assert command.startswith(begins), f"the page goes on with: {command}"
        real = command.replace("~/", f"{self.folder}/").replace(ROOT, str(self.hive.root))
        if digest_of is not None:
            digest = (await self.hive.shown(digest_of))["effect"]["digest"]
            real = re.sub(r"--expect [0-9a-f]{64}", f"--expect {digest}", real)
        printed = (await self._run(real)).replace(str(self.hive.root), ROOT)
        if digest_of is not None:
            command = re.sub(r"--expect [0-9a-f]{64}", f"--expect {digest}", command)
        cut = wanted.rstrip().endswith("…")
        if cut:
            printed = "".join(printed.splitlines(True)[: wanted.rstrip().count("\n")]) + "  …\n"
        if "HIVE_REWRITE" in os.environ:
            self.page = self.page.replace(part, f"{command}\n{printed}", 1)
        else:
            assert _same(printed) == _same(wanted), command

    def over(self) -> None:
        assert not self._left
        if "HIVE_REWRITE" in os.environ:
            PAGE.write_text(self.page)

    async def _run(self, command: str) -> str:
        program = " ".join(map(shlex.quote, self.hive.program))
        where = f"--root {shlex.quote(str(self.hive.root))}"
        found = re.sub(r"^hive ([^;]*)", rf"{program} \1 {where} ", command)
        process = await asyncio.create_subprocess_shell(
            f"exec 2>&1; {found}",
            cwd=self._where,
            env={**self.hive.env, **ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        out, _ = await process.communicate()
        if command.endswith("&& cd swarm"):
            self._where = self.folder / "swarm"
        return out.decode().rstrip() + "\n"


def _same(text: str) -> str:
    for pattern, name in VARIES:
        text = pattern.sub(name, text)
    return text.strip()


async def test_the_page_is_what_happens(tmp_path: Path) -> None:
    async with swarm(tmp_path / "root", "--rehearse", "--runtime", "nspawn") as hive:
        player = Player(hive, tmp_path)
        inbox, clone = hive.layout.inbox_git, tmp_path / "swarm"

        def push(file: str, old: str, new: str, message: str, topic: str) -> None:
            git(clone, "fetch", "-q", "applied")
            git(clone, "reset", "-q", "--hard", "applied/applied")
            text = (clone / file).read_text()
            assert old in text
            (clone / file).write_text(text.replace(old, new))
            git(clone, "commit", "-qam", message)
            git(clone, "push", "-q", str(inbox), f"HEAD:refs/heads/proposed/{topic}")

        async def proposal(n: int) -> None:
            async def there() -> bool:
                return any(p["n"] == n for p in await hive.json("proposals", "--all"))

            await hive.until(f"proposal {n}", there)

        async def approve(n: int) -> None:
            digest = (await hive.shown(n))["effect"]["digest"]
            await hive.cli("approve", str(n), "--expect", digest)

        await hive.ready("hm1nd")
        await hive.cli("send", "hm1nd", "we need a scout")
        await proposal(1)
        await player.plays("hive proposals")
        await player.plays("hive approve 1", digest_of=1)
        await proposal(2)
        await player.plays("hive show 2")
        await player.plays("hive spawn helper")
        await player.plays("hive deny 2")
        await proposal(4)
        await player.plays("hive approve 4", digest_of=4)
        await player.plays("hive approve 3", digest_of=4)
        for command in ("git clone", "sed", "git push"):
            await player.plays(command)
        await proposal(5)
        await player.plays("hive show 5")
        await approve(5)
        await player.plays("hive spawn big")
        toml = "agents/scout/agent.toml"
        await asyncio.to_thread(push, toml, "memory =", "memroy =", "More memory", "typo")
        await proposal(7)
        await player.plays("hive show 7")
        await player.plays("git -C")
        await player.plays("hive verify")
        tip = git(hive.layout.hive_git, "rev-parse", "applied")
        wrong = git(hive.layout.hive_git, "commit-tree", "applied^{tree}", "-p", tip, "-m", "x")
        git(hive.layout.hive_git, "update-ref", "refs/heads/applied", wrong)
        await player.plays("hive verify; echo")
        git(hive.layout.hive_git, "update-ref", "refs/heads/applied", tip)
        public = await asyncio.to_thread(make_key, tmp_path / ".ssh")
        policy = f'[policy]\nsigners = ["ada {public}"]\n'
        await asyncio.to_thread(push, "hive.toml", "[policy]\n", policy, "Ada may sign", "signers")
        await proposal(8)
        await approve(8)
        await player.plays("hive approve 3", digest_of=3)
        await player.plays("hive verify")
        await proposal(9)  # the manager's, for the helper
        await player.plays("hive revert 5")
        player.over()


def make_key(folder: Path) -> str:
    """An operator's; its public half."""
    folder.mkdir()
    key = folder / "id_ed25519"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(command, check=True)
    return " ".join(Path(f"{key}.pub").read_text().split()[:2])
