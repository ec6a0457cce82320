"""Containers on a host whose programs are not in /usr, as under NixOS."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from support.containers import GO, Site

from hive_reconciler.runtime import userland
from hive_reconciler.runtime.base import Bind, Phase
from hive_reconciler.runtime.toolchain import claude_binds


@pytest.fixture
def usr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A userland with a shell and nothing else."""
    usr = tmp_path / "usr"
    shell = os.path.realpath("/bin/sh")
    linked = subprocess.run(["ldd", shell], capture_output=True, text=True, check=True).stdout
    wanted = {"bin/sh": shell}
    for file in re.findall(r"(/\S+)", linked):
        wanted[file.removeprefix("/usr").lstrip("/")] = file
    for name, file in wanted.items():
        target = usr / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    for folder in (tmp_path, *usr.rglob("*")):
        folder.chmod(0o755)
    monkeypatch.setattr(userland, "USR", usr)
    return usr


async def test_containers_have_the_userland_and_nothing_of_usr(usr: Path, site: Site) -> None:
    script = f"{GO} for f in /usr/bin/* /usr/*; do echo $f; done; exit 0"
    script = script.replace("sleep 0.02", ":").replace("rm /state/go", ":")
    await site.runtime.start(site.container(script))
    site.go()
    await site.until_phase(Phase.STOPPED)
    said = await site.runtime.logs("h-x", 50)
    folders = {f"/usr/{folder.name}" for folder in usr.iterdir()}
    assert {line for line in said if line.startswith("/usr/")} == {"/usr/bin/sh", *folders}


def test_a_userland_of_links_into_the_store_comes_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = userland.STORE / "x-hive-userland"
    monkeypatch.setattr(userland, "USR", inside)
    assert userland.binds() == (
        Bind(inside, Path("/usr")),
        Bind(userland.STORE, userland.STORE),
    )
    assert userland.program("bwrap") == "/nix/store/x-hive-userland/bin/bwrap"


def test_a_wrapped_cli_runs_where_its_store_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapper = tmp_path / "claude"
    wrapper.write_text("#!/nix/store/x-bash/bin/bash\nexec .claude-wrapped\n")
    monkeypatch.setattr(userland, "STORE", tmp_path)
    (bind,) = claude_binds(wrapper)
    assert replace(bind, idmap=False) == Bind(wrapper, Path("/opt/claude/claude"))
