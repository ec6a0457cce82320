"""What git itself demands of commits and trees (`git fsck`), before a foreign one is kept. The
order of a tree, and its bytes, are `listing`'s: it reads no other."""

from __future__ import annotations

import re

from ..model.tree import DIRECTORY, EXECUTABLE, FILE, SUBMODULE, SYMLINK
from .errors import Refused
from .listing import Entry

_MODES = frozenset({FILE, EXECUTABLE, SYMLINK, SUBMODULE, DIRECTORY})
_NOTHING = "0" * 40
_WHO = rb"(?!<)[^<>\n\0]* <[^<>\n\0]*> (?:0|[1-9][0-9]{0,14}) [+-][0-9]{4}\n"
_OTHER = rb"(?!(?:tree|parent|author|committer) )[^ \n\0][^\n\0]*\n(?: [^\n\0]*\n)*"
_COMMIT = re.compile(
    rb"tree [0-9a-f]{40}\n((?:parent [0-9a-f]{40}\n)*)author %b"
    rb"committer %b(?:%b)*\n[^\0]*" % (_WHO, _WHO, _OTHER)
)
_MAX_NAME = 255  # bytes: no file system that git writes to takes more
_UNSEEN = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")  # by HFS+ in a name
_ENDS = re.compile(r"[\\:]")  # a name on NTFS, which drops spaces and dots in front of its end, too


def check_commit(oid: str, data: bytes) -> None:
    """Its parents, too, stand nowhere but where git looks for them. Raises Refused."""
    if not _COMMIT.fullmatch(data):
        raise Refused(f"commit {oid[:12]} is not as git writes commits; make it anew with git")


def check_entry(tree: str, name: str, entry: Entry) -> None:
    """Raises Refused."""
    seen = _ENDS.split(_UNSEEN.sub("", name), maxsplit=1)[0].rstrip(" .").lower()
    if entry.mode not in _MODES:
        wrong = f"an entry has the mode {entry.mode:o}, which git does not write"
    elif seen.startswith(".git") or seen == "git~1":
        wrong = "names that begin with .git are not allowed, in no commit: they steer git itself"
    elif len(name.encode(errors="surrogateescape")) > _MAX_NAME:
        wrong = f"an entry has a name of more than {_MAX_NAME} bytes"
    elif not seen or "/" in name:
        wrong = "an entry has a name that is none"
    elif entry.oid == _NOTHING:
        wrong = "an entry names no object"
    else:
        return
    raise Refused(f"the commit cannot be taken: tree {tree[:12]}: {wrong}")
