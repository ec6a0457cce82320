"""A large swarm in hive.git, made in a moment."""

from __future__ import annotations

import tempfile
from pathlib import Path

from support.git_work import git

from hive_reconciler.git.durable import RefChange
from hive_reconciler.git.hive import Hive
from hive_reconciler.git.listing import Entry
from hive_reconciler.git.store import create_bare, open_bare
from hive_reconciler.git.trees import Trees
from hive_reconciler.model.tree import DIRECTORY, FILE
from hive_wire.names import new_uid


def populate(hive: Hive, agents: int) -> str:
    """One commit with so many agents, in one pack; its OID. In the git thread.

    Made in memory: an ext4 that has just lost thousands of files takes a millisecond to make one."""
    store, where = hive._all.store, Path(hive._all.store.repo.path)
    tip = hive._all.history.tip()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        aside = create_bare(Path(folder) / "aside.git", {}, 0o700)
        (Path(aside.path) / "objects/info/alternates").write_text(f"{where / 'objects'}\n")
        trees = Trees(open_bare(Path(aside.path)))
        tree = store.tree_of(tip)
        entries = dict(trees.entries(trees.subtree(tree, "agents")))
        prompt = trees.write_blob(b"Do what you are asked.\n")
        for i in range(agents):
            toml = trees.write_blob(f'uid = "{new_uid()}"\ndescription = "agent {i}"\n'.encode())
            files = {"agent.toml": Entry(FILE, toml), "prompt.md": Entry(FILE, prompt)}
            entries[f"a{i}"] = Entry(DIRECTORY, trees.write(files))
        tree = trees.put(tree, "agents", Entry(DIRECTORY, trees.write(entries)))
        commit = trees.write_commit(store.commit_text("many\n", tree, (tip,)))
        revisions = f"{commit}\n^{tip}\n".encode()
        name = git(Path(aside.path), "pack-objects", "-q", "--revs", "pack", stdin=revisions)
        pack = Path(aside.path, f"pack-{name}.pack").read_bytes()
        git(where, "index-pack", "--stdin", stdin=pack)
        trees.repo.free()
        aside.free()
    store.land((), RefChange("refs/heads/applied", commit, tip))
    return commit
