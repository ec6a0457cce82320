"""What a backup is made of: git bundles, archives of directories, one manifest. These block."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .client import CallFailed

FORMAT = 1
MANIFEST = "manifest.json"
DATABASE = "broker.db"
HIVE, INBOX = "hive.bundle", "inbox.bundle"
AGENT_PARTS = ("state", "claude", "port")
# What is kept beside hive.git, the broker and the agents; locks and half-done work are not.
HOST_PARTS = ("keys", "reconciler", "dashboard", "rehearsal", "gateway.toml")
EXCLUDED = ("lock", "*.lock", "pack-*", "quarantine*", "sessions.sqlite*")
_CHANGED = 1  # tar's status when a file changed while it was read


@dataclass(frozen=True)
class Manifest:
    """Written last: without it a backup is not whole. `at` in unix seconds."""

    format: int
    version: str
    root: str
    at: float
    applied: str
    agents: dict[str, str]  # uid to name

    def write(self, folder: Path) -> None:
        (folder / MANIFEST).write_text(json.dumps(asdict(self), indent=2) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Raises CallFailed."""
    try:
        raw: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        if raw["format"] > FORMAT:
            raise CallFailed(f"{folder} was written by a newer hyperhive; upgrade this one first")
        return Manifest(**raw)
    except FileNotFoundError:
        raise CallFailed(f"{folder} holds no whole backup: there is no {MANIFEST} in it") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CallFailed(f"{folder / MANIFEST} cannot be read: {error}") from None


# -- git ---------------------------------------------------------------------------


def bundle(repo: Path, file: Path) -> None:
    """Every ref of `repo` and all they reach. Without refs nothing is written."""
    if git(repo, "for-each-ref", "--count=1"):
        git(repo, "bundle", "create", "--quiet", str(file), "--all")


def bundled(file: Path, repo: Path, ref: str) -> str:
    """What a bundle of `repo` has of a ref that may have moved on since. Raises CallFailed."""
    return git(repo, "bundle", "list-heads", str(file), ref).partition(" ")[0]


def unbundle(file: Path, repo: Path) -> None:
    """All refs of a bundle into the bare `repo`, after git has proven it whole."""
    git(repo, "bundle", "verify", "--quiet", str(file))
    git(repo, "fetch", "--quiet", "--no-write-fetch-head", str(file), "refs/*:refs/*")


def git(repo: Path, *arguments: str) -> str:
    """What git prints, without anybody's configuration. Raises CallFailed."""
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
        "LC_ALL": "C",
    }
    done = _run(("git", "--git-dir", str(repo), *arguments), environment)
    if done.returncode != 0:
        raise CallFailed(f"git {arguments[0]} of {repo} failed: {done.stderr.strip()[-500:]}")
    return done.stdout.strip()


# -- directories -------------------------------------------------------------------


def pack(folder: Path, parts: Sequence[str], file: Path, excluded: Sequence[str] = ()) -> list[str]:
    """The `parts` of `folder` that exist, with modes and owners: by name where the other
    machine has that name. Gives tar's words for each file that could not be read: an agent may
    have closed some to everybody. Raises CallFailed."""
    there = [part for part in parts if os.path.lexists(folder / part)]
    done = _run(
        (
            *("tar", "--create", "--file", str(file), "--directory", str(folder)),
            *("--xattrs", "--sparse", "--warning=no-file-ignored", "--ignore-failed-read"),
            *(f"--exclude={pattern}" for pattern in excluded),
            *(("--", *there) if there else ("--files-from", "/dev/null")),
        )
    )
    if done.returncode not in (0, _CHANGED):
        raise CallFailed(f"tar of {folder} failed: {done.stderr.strip()[-500:]}")
    lines = done.stderr.splitlines()
    return [line.removeprefix("tar: ") for line in lines if ": Warning: Cannot " in line]


def unpack(file: Path, folder: Path, *, numbers: bool) -> None:
    """Into `folder`; `numbers`: owners by number, as a container knows them. Raises
    CallFailed."""
    owners = "--same-owner" if os.geteuid() == 0 else "--no-same-owner"
    done = _run(
        (
            *("tar", "--extract", "--file", str(file), "--directory", str(folder)),
            *("--xattrs", "--preserve-permissions", owners),
            *(("--numeric-owner",) if numbers else ()),
        )
    )
    if done.returncode != 0:
        raise CallFailed(f"tar of {file} failed: {done.stderr.strip()[-500:]}")


def _run(
    command: Sequence[str], environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", env=environment, check=False
        )
    except FileNotFoundError:
        raise CallFailed(f"{command[0]} is not installed") from None
