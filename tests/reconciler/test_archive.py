"""What an agent may leave in its state must not stop a backup, and comes back as it was."""

from __future__ import annotations

import contextlib
import os
import socket
import stat

import pytest
from support.git_work import git
from support.without_root import NOBODY

from hive_reconciler.app import archive


def odd_state(home) -> dict[str, str]:
    """Fills `home`; what has a content, by name."""
    state = home / "state"
    state.mkdir(parents=True)
    contents = {
        "plain": "x", "two\nlines": "a name with a newline", "--help": "an option", "-": "a dash",
        "\udcff\udcfe": "a name that is no text", "ü\u202e.md": "a name that reads backwards",
        "x" * 255: "the longest name",
    }  # fmt: skip
    for name, content in contents.items():
        (state / name).write_text(content)
    os.link(state / "plain", state / "hard")
    for name, target in (("loop", "loop"), ("out", "/etc"), ("up", "../../.."), ("none", "gone")):
        (state / name).symlink_to(target)
    deep = state
    for _ in range(60):
        deep /= "d" * 60
        deep.mkdir()
    os.mkfifo(state / "fifo")
    with (state / "hole").open("wb") as hole:
        hole.truncate(1 << 40)
    (state / "run").write_text("#!/bin/sh\n")
    (state / "run").chmod(0o4755)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(state / "sock"))
    sock.close()
    return contents


def test_a_backup_names_the_commit_that_it_holds(tmp_path):
    """A merge may come while the agents' files are copied."""
    repo, file = tmp_path / "hive.git", tmp_path / "hive.bundle"
    git(tmp_path, "init", "-q", "--bare", str(repo))
    tree = git(repo, "mktree", stdin=b"")
    before = git(repo, "commit-tree", tree, "-m", "one")
    git(repo, "update-ref", "refs/heads/applied", before)
    archive.bundle(repo, file)
    after = git(repo, "commit-tree", tree, "-p", before, "-m", "two")
    git(repo, "update-ref", "refs/heads/applied", after)
    assert archive.bundled(file, repo, "refs/heads/applied") == before


def test_odd_files_come_back_as_they_were(tmp_path):
    home, back = tmp_path / "home", tmp_path / "back"
    contents = odd_state(home)
    back.mkdir()
    left_out = archive.pack(home, archive.AGENT_PARTS, tmp_path / "a.tar")
    assert left_out == []
    assert (tmp_path / "a.tar").stat().st_size < 4 << 20
    archive.unpack(tmp_path / "a.tar", back, numbers=True)
    for name, content in contents.items():
        assert (back / "state" / name).read_text() == content
    assert (back / "state" / "hard").stat().st_ino == (back / "state" / "plain").stat().st_ino
    assert os.readlink(back / "state" / "out") == "/etc"
    assert os.readlink(back / "state" / "loop") == "loop"
    assert stat.S_ISFIFO((back / "state" / "fifo").stat().st_mode)
    assert (back / "state" / "hole").stat().st_size == 1 << 40
    assert stat.S_IMODE((back / "state" / "run").stat().st_mode) == 0o4755
    assert not (back / "state" / "sock").exists()


@contextlib.contextmanager
def nobody():
    """Files are opened as by a user without rights."""
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.root
def test_a_file_that_is_closed_to_everybody_is_named_and_the_rest_is_kept(tmp_path):
    home = tmp_path / "home"
    (home / "state" / "folder").mkdir(parents=True)
    for name in ("closed", "open", "folder/inside"):
        (home / "state" / name).write_text(name)
    for name in ("closed", "folder"):
        (home / "state" / name).chmod(0)
    for folder in (tmp_path, home, home / "state"):
        folder.chmod(0o777)
    with nobody():
        left_out = archive.pack(home, archive.AGENT_PARTS, tmp_path / "a.tar")
    assert sorted(line.partition(":")[0] for line in left_out) == ["state/closed", "state/folder"]
    back = tmp_path / "back"
    back.mkdir()
    archive.unpack(tmp_path / "a.tar", back, numbers=True)
    assert (back / "state" / "open").read_text() == "open"
    assert not (back / "state" / "closed").exists()
