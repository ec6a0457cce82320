"""Three-way merge of trees by OID: only what both sides changed is ever opened."""

from __future__ import annotations

from ..model.tree import DIRECTORY, EXECUTABLE, FILE
from .filemerge import merge_contents
from .listing import Entry
from .trees import EMPTY, Trees, tree_oid


def merge_trees(trees: Trees, base: str, ours: str, theirs: str) -> tuple[str, tuple[str, ...]]:
    """Three-way merge of trees: the tree and the paths in conflict.

    No renames are guessed: what was written for one agent never lands in another. With
    conflicts the tree holds our side of them and is not to be used.
    """
    merge = _Merge(trees)
    tree = merge.folder("", base, ours, theirs)
    return tree, tuple(sorted(merge.conflicts))


class _Merge:
    def __init__(self, trees: Trees) -> None:
        self._trees = trees
        self.conflicts: list[str] = []

    def folder(self, prefix: str, base: str, ours: str, theirs: str) -> str:
        if theirs in (ours, base):
            return ours
        if ours == base:
            return theirs
        self._trees.differing(base, ours)  # makes reading ours cheap
        b, t = self._trees.differing(base, theirs)
        o = self._trees.entries(ours)
        changes: dict[str, Entry | None] = {}
        for name in {name for name, _ in b.items() ^ t.items()}:  # what they changed
            was, mine, other = b.get(name), o.get(name), t.get(name)
            if other == mine:
                continue
            path = prefix + name
            if mine == was:
                result = other
            elif _are_trees(was, mine, other):
                below = self.folder(path + "/", tree_oid(was), tree_oid(mine), tree_oid(other))
                result = None if below == EMPTY else Entry(DIRECTORY, below)
            else:
                result = self._file(path, was, mine, other)
                if result is None:
                    self.conflicts.append(path)
                    result = mine
            changes[name] = result
        return self._trees.patch(ours, changes)

    def _file(
        self, path: str, was: Entry | None, mine: Entry | None, other: Entry | None
    ) -> Entry | None:
        """The merged file, or None when the sides contradict each other."""
        if was is None or mine is None or other is None:
            return None
        if not was.mode == mine.mode == other.mode or was.mode not in (FILE, EXECUTABLE):
            return None
        merged = merge_contents(*(self._trees.blob(side.oid) for side in (was, mine, other)))
        return None if merged is None else Entry(mine.mode, self._trees.write_blob(merged))


def _are_trees(*entries: Entry | None) -> bool:
    present = [entry for entry in entries if entry is not None]
    return len(present) >= 2 and all(entry.is_tree for entry in present)
