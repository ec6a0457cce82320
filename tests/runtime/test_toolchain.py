"""What of the host's software gets into containers: no more than it needs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.containers import GO, Site

from hive_reconciler.runtime.base import Phase
from hive_reconciler.runtime.toolchain import (
    NoTool,
    claude_binds,
    claude_finding,
    harness_binds,
    interpreter_binds,
)


def test_the_harness_is_two_packages() -> None:
    environment, binds = harness_binds()
    assert dict(environment)["PYTHONPATH"] == "/opt/hive"
    assert [str(bind.target) for bind in binds] == ["/opt/hive/hive_harness", "/opt/hive/hive_wire"]
    assert all(bind.read_only and bind.source.is_dir() for bind in binds)


def test_the_cli_is_its_binary_wherever_npm_put_it(tmp_path: Path) -> None:
    package = tmp_path / "lib/node_modules/@anthropic-ai/claude-code"
    package.mkdir(parents=True)
    (package / "cli.js").write_text("#!/usr/bin/env node\n")
    link = tmp_path / "bin" / "claude"
    link.parent.mkdir()
    link.symlink_to(package / "cli.js")
    with pytest.raises(NoTool, match="npm install"):
        claude_binds(link)
    binary = package / "node_modules/@anthropic-ai/claude-code-linux-x64/claude"
    binary.parent.mkdir(parents=True)
    shutil.copy("/usr/bin/true", binary)
    (bind,) = claude_binds(link)
    assert (bind.source, str(bind.target)) == (binary, "/opt/claude/claude")
    (bind,) = claude_binds(binary)
    assert bind.source == binary
    with pytest.raises(NoTool, match="HIVE_CLAUDE"):
        claude_binds(tmp_path / "none")


def test_doctor_looks_for_the_cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HIVE_CLAUDE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = claude_finding(needed=True)
    assert (found.ok, found.detail) == (False, "not on this machine")
    assert "npm install -g @anthropic-ai/claude-code" in found.cure
    found = claude_finding(needed=False)
    assert found.ok, "a machine that only rehearses is fit"
    assert "npm install -g @anthropic-ai/claude-code" in found.detail
    shutil.copy("/usr/bin/echo", tmp_path / "claude")  # a binary that says something
    found = claude_finding(needed=True)
    assert found.ok
    assert found.detail.endswith(f" at {tmp_path / 'claude'}")
    assert found.detail.startswith("echo ")
    monkeypatch.setenv("HIVE_CLAUDE", str(tmp_path / "none"))
    found = claude_finding(needed=True)
    assert not found.ok
    assert found.detail == f"HIVE_CLAUDE: no Claude Code CLI at {tmp_path / 'none'}"


def test_files_that_others_may_not_read_are_mapped(tmp_path: Path) -> None:
    binary = tmp_path / "claude"
    shutil.copy("/usr/bin/true", binary)
    binary.chmod(0o700)
    assert claude_binds(binary)[0].idmap
    binary.chmod(0o755)
    assert not claude_binds(binary)[0].idmap


async def test_python_and_the_harness_run_inside(site: Site) -> None:
    container = await site.python(Path(__file__))
    environment, binds = harness_binds()
    code = (
        "import sys, hive_harness, hive_wire.frames; print('python', sys.version_info >= (3, 11))"
    )
    prefix, _ = interpreter_binds()
    await site.runtime.start(
        replace(
            container,
            binds=(*container.binds, *binds),
            environment=environment,
            argv=("/bin/sh", "-c", f'{GO} {prefix[0]} -c "{code}"; ls /opt/hive; exit 0'),
        )
    )
    site.go()
    await site.until_phase(Phase.STOPPED)
    said = await site.runtime.logs("h-x", 20)
    assert "python True" in said
    assert [line for line in said if line.startswith("hive_")] == ["hive_harness", "hive_wire"]
