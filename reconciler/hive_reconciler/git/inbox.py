"""inbox.git: where people push `proposed/<topic>`. Its heads come in like agents' commits."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from ..model.checks import printable
from ..model.proposal import Requester
from ..model.records import MAX_DESCRIPTION, who_problem
from .errors import Refused
from .importing import Fetch, Write
from .jailer import Jail, find_git
from .repositories import Repositories
from .store import Store, open_bare

PREFIX = "refs/heads/proposed/"
_CHUNK = 256 << 10  # bytes


@dataclass(frozen=True)
class Head:
    """One pushed branch."""

    topic: str  # printable
    commit: str
    pusher: Requester
    gid: int  # the group that may read inbox.git


def new_heads(all_: Repositories, seen: frozenset[tuple[str, str]]) -> list[Head]:
    """Branches whose commit no proposal has brought in yet, besides `seen`. In the git thread."""
    known = {(p.pinned.source, p.pinned.submitted) for p in all_.ledger.all()} | seen
    repo = open_bare(all_.layout.inbox_git)
    try:
        heads = Store(repo, all_.layout.reconciler / "inbox.lock").refs(PREFIX)
        gid = os.stat(repo.path).st_gid
        found = [
            Head(printable(topic), oid, _pusher(Path(repo.path), topic), gid)
            for topic, oid in sorted(heads.items())
        ]
    finally:
        repo.free()
    return [head for head in found if (head.topic, head.commit) not in known]


def description_of(data: bytes) -> str:
    """The message of a commit, as the description of its proposal."""
    _, _, message = data.partition(b"\n\n")
    return message.decode(errors="replace").strip()[:MAX_DESCRIPTION]


def fetch_from(jail: Jail, inbox: Path, gid: int, hive_objects: Path, commit: str) -> Fetch:
    """Packs one head of the inbox, as nobody of the inbox's group; its hooks never run."""

    async def fetch(have: tuple[str, ...], write: Write) -> str:
        given = {"git": find_git(), "directory": str(inbox), "objects": str(hive_objects)}
        async with jail.job("pack", gid=gid, **given) as stream:
            stream.writer.write("\n".join([commit, *(f"^{oid}" for oid in have), ""]).encode())
            stream.writer.write_eof()
            empty = True
            while data := await stream.reader.read(_CHUNK):
                empty = False
                await write(data)
        if empty:
            raise Refused(f"{commit[:12]} cannot be read from inbox.git")
        return commit

    return fetch


def _pusher(repo: Path, topic: str) -> Requester:
    """The owner of the ref's file; git packs refs only when somebody asks it to."""
    try:
        uid = os.stat(repo / PREFIX / topic, follow_symlinks=False).st_uid
        name = pwd.getpwuid(uid).pw_name
    except (OSError, KeyError, ValueError):
        name = "inbox"
    return Requester.user("inbox" if who_problem(name) else name)
