"""A bare repository with a branch `applied`, and git for a test's own hands."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ENV = {
    **os.environ,
    "GIT_AUTHOR_NAME": "t",
    "GIT_AUTHOR_EMAIL": "t@t",
    "GIT_COMMITTER_NAME": "t",
    "GIT_COMMITTER_EMAIL": "t@t",
    "GIT_CONFIG_GLOBAL": "/dev/null",
}


def git(where: Path, *argv: str, feed: bytes = b"") -> str:
    done = subprocess.run(
        ["git", "-C", str(where), *argv], input=feed, capture_output=True, check=False, env=ENV
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def make_applied(path: Path, work: Path, agent_toml: str = 'description = "old"\n') -> str:
    """`path` as a bare clone of `work` with one agent, scout; the id of its commit."""
    subprocess.run(["git", "init", "-q", "-b", "applied", str(work)], check=True, env=ENV)
    (work / "agents" / "scout").mkdir(parents=True)
    (work / "agents" / "scout" / "agent.toml").write_text(agent_toml)
    git(work, "add", ".")
    git(work, "commit", "-q", "-m", "first")
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(path)], check=True, env=ENV)
    return git(work, "rev-parse", "HEAD")


def commit(where: Path, name: str, content: str) -> str:
    """Write a file and commit all; the commit's id."""
    (where / name).write_text(content)
    git(where, "add", ".")
    git(where, "commit", "-q", "-m", name)
    return git(where, "rev-parse", "HEAD")
