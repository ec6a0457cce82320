"""Opening a root's repositories, and making them where there are none."""

from __future__ import annotations

import contextlib
import grp
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from hive_wire.paths import Layout

from ..model.records import accepted_message
from ..model.swarm import HostAbilities
from .durable import RefChange, make_folder, move
from .first import FirstCommit, make_first_commit
from .history import History
from .ledger import Ledger
from .parsed import Parsed
from .previews import Previews
from .reading import Reader
from .signing import HostKey
from .store import (
    APPLIED,
    CONFIG,
    INBOX_CONFIG,
    Store,
    configure_libgit2,
    create_bare,
    open_bare,
)
from .trees import Trees

PARSED = "parsed.log"
PUSHERS = "hive"  # the group whose members may push to inbox.git


@dataclass(frozen=True)
class Repositories:
    """What the git thread works with."""

    layout: Layout
    store: Store
    trees: Trees
    reader: Reader
    history: History
    ledger: Ledger
    previews: Previews
    key: HostKey
    created: bool
    going: set[str] = field(default_factory=set)  # uids whose state is being removed

    def keeps(self, uid: str) -> bool:
        """Whether the state of a retired agent is there, and stays."""
        return uid not in self.going and self.layout.agent(uid).is_dir()


def open_repositories(layout: Layout, first: FirstCommit, host: HostAbilities) -> Repositories:
    """Raises ReadFailed, Refused. A crash while making them leaves nothing that looks made."""
    configure_libgit2()
    created = not layout.hive_git.exists()
    if created:
        _make(layout, first)
    if not layout.inbox_git.exists():
        _make_inbox(layout)
    if not layout.tag:
        with contextlib.suppress(KeyError):  # without that group nobody else pushes
            share_inbox(layout.inbox_git, grp.getgrnam(PUSHERS).gr_gid)
    found = _assemble(layout, host, created, writes=True)
    found.store.remove_stale_locks()
    found.key.ensure()
    return found


def share_inbox(inbox: Path, gid: int) -> None:
    """Let a group push. Its members write objects and branches; not config, not hooks, which
    git would follow and run as whoever pushes next."""
    for folder in (inbox, inbox / "refs"):
        os.chown(folder, -1, gid)
        os.chmod(folder, 0o2750)
    objects = inbox / "objects"
    for folder in (objects, objects / "pack", objects / "info", inbox / "refs/heads"):
        os.chown(folder, -1, gid)
        os.chmod(folder, 0o2770)


def read_repositories(layout: Layout) -> Repositories:
    """For a reader beside a reconciler that may run: changes nothing. Raises ReadFailed."""
    configure_libgit2()
    return _assemble(layout, HostAbilities(), created=False, writes=False)


def _assemble(layout: Layout, host: HostAbilities, created: bool, *, writes: bool) -> Repositories:
    store = _store(layout, layout.hive_git)
    trees = Trees(store.repo)
    kept = layout.reconciler / PARSED if writes else None
    reader = Reader(trees, Parsed(kept), runtime_reads_nix=host.reads_nix)
    key = HostKey(layout.keys)
    history = History(store, key)
    return Repositories(
        layout,
        store,
        trees,
        reader,
        history,
        Ledger(store, history),
        Previews(trees, reader, host),
        key,
        created,
    )


def _make(layout: Layout, first: FirstCommit) -> None:
    """Build hive.git beside its place, then move it there."""
    make_folder(str(layout.root))
    fresh = _fresh(layout.hive_git)
    create_bare(fresh, CONFIG, 0o755 if not layout.tag else 0o700)
    store = _store(layout, fresh)
    trees = Trees(store.repo)
    with trees.scratch():
        root = make_first_commit(store, trees, first)
        history = History(store, HostKey(layout.keys))
        applied = RefChange(APPLIED, root, None)
        store.land(trees.unwritten(root), applied, history.taking_over(root))
    store.tag(f"accepted/{root}", root, accepted_message(root, "hive up", "the first commit"))
    store.repo.free()
    move(fresh, layout.hive_git)


def _make_inbox(layout: Layout) -> None:
    fresh = _fresh(layout.inbox_git)
    create_bare(fresh, INBOX_CONFIG, 0o750).free()
    move(fresh, layout.inbox_git)


def _fresh(place: Path) -> Path:
    """Where to build it: a name that nobody looks at. What a killed start left is removed."""
    path = place.with_name(f"{place.name}.new")
    shutil.rmtree(path, ignore_errors=True)
    return path


def _store(layout: Layout, path: Path) -> Store:
    return Store(open_bare(path), layout.reconciler / "git.lock")
