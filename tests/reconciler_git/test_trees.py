"""Merging and comparing trees by OID, beside git itself."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.git_work import git

from hive_reconciler.git.durable import write
from hive_reconciler.git.listing import Entry
from hive_reconciler.git.store import create_bare
from hive_reconciler.git.treemerge import merge_trees
from hive_reconciler.git.trees import EMPTY, TooMany, Trees
from hive_reconciler.model.tree import FILE

PATHS = [
    "hive.toml",
    "agents/a/agent.toml",
    "agents/a/prompt.md",
    "agents/b/agent.toml",
    "agents/b/deep/er/x.md",
    "modules/m.nix",
]
CONTENTS = ["", "one\n", "one\ntwo\nthree\nfour\nfive\nsix\nseven\n"]
CONTENTS += [CONTENTS[2].replace("one", "ONE"), CONTENTS[2].replace("seven", "SEVEN")]
# No two paths have the same content: git would take one for the other, renamed.
files = st.dictionaries(st.sampled_from(PATHS), st.sampled_from(CONTENTS)).map(
    lambda content: {path: f"{path}\n" * 40 + text for path, text in content.items()}
)


@pytest.fixture
def trees(tmp_path: Path) -> Iterator[Trees]:
    repo = create_bare(tmp_path / "t.git", {}, 0o700)
    yield Trees(repo)
    repo.free()


def make(trees: Trees, content: dict[str, str]) -> str:
    tree = EMPTY
    for path, text in content.items():
        tree = trees.put(tree, path, Entry(FILE, trees.write_blob(text.encode())))
    return tree


def listed(trees: Trees, tree: str, prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, entry in trees.entries(tree).items():
        if entry.is_tree:
            found |= listed(trees, entry.oid, f"{prefix}{name}/")
        else:
            found[prefix + name] = trees.blob(entry.oid).decode()
    return found


same_fixture = settings(
    max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@same_fixture
@given(files)
def test_put_and_read(trees: Trees, content: dict[str, str]) -> None:
    tree = make(trees, content)
    assert listed(trees, tree) == content
    for path in content:
        tree = trees.put(tree, path, None)
    assert tree == EMPTY


@same_fixture
@given(files, files)
def test_changed_is_what_differs(trees: Trees, old: dict[str, str], new: dict[str, str]) -> None:
    paths = {path for path, _, _ in trees.changed(make(trees, old), make(trees, new), 1000)}
    assert paths == {p for p in old.keys() | new.keys() if old.get(p) != new.get(p)}


@same_fixture
@given(files, files, files)
def test_merge_agrees_with_git(
    trees: Trees, base: dict[str, str], ours: dict[str, str], theirs: dict[str, str]
) -> None:
    oids = [make(trees, content) for content in (base, ours, theirs)]
    path = Path(trees.repo.path)
    if EMPTY in oids:
        git(path, "hash-object", "-w", "-t", "tree", "--stdin", stdin=b"")
    merged, conflicts = merge_trees(trees, oids[0], oids[1], oids[2])
    root = git(path, "commit-tree", oids[0], "-m", "base")
    sides = [git(path, "commit-tree", oid, "-p", root, "-m", "side") for oid in oids[1:]]
    done = subprocess.run(
        ["git", "-C", str(path), "-c", "merge.renames=false", "merge-tree", "--write-tree", *sides],
        capture_output=True,
        check=False,
    )
    added_twice = {p for p in ours.keys() & theirs.keys() if p not in base}
    if not conflicts:
        assert (done.returncode, done.stdout.decode().strip()) == (0, merged)
    elif done.returncode == 0:  # git mixes files that both sides added; we ask people
        assert set(conflicts) <= added_twice


@same_fixture
@given(files, files)
def test_scratch_leaves_nothing(trees: Trees, old: dict[str, str], new: dict[str, str]) -> None:
    make(trees, old)
    before = set(trees.repo)
    with trees.scratch():
        tree = make(trees, new)
        assert listed(trees, tree) == new
    assert set(trees.repo) == before
    with trees.scratch():
        assert make(trees, new) == tree
        write(trees.repo.path, trees.unwritten(tree), (), lambda _: None)
    assert listed(Trees(trees.repo), tree) == new


def test_no_rename_is_guessed(trees: Trees) -> None:
    text = "".join(f"line {i}\n" for i in range(50))
    base = make(trees, {"agents/a/prompt.md": text})
    ours = make(trees, {"agents/b/prompt.md": text})
    theirs = make(trees, {"agents/a/prompt.md": text + "more\n"})
    assert merge_trees(trees, base, ours, theirs)[1] == ("agents/a/prompt.md",)


def test_comparing_is_bounded(trees: Trees) -> None:
    folder = make(trees, {"f": "x"})
    for _ in range(30):
        folder = trees.write({f"d{i}": Entry(0o040000, folder) for i in range(10)})
    with pytest.raises(TooMany):
        trees.changed(EMPTY, folder, 1000)
