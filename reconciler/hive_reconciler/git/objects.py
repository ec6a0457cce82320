"""Git objects as bytes."""

from __future__ import annotations

import hashlib

from pygit2.enums import ObjectType

Raw = tuple[int, bytes]  # an object's type and content
_KINDS = {
    int(ObjectType.COMMIT): b"commit",
    int(ObjectType.TREE): b"tree",
    int(ObjectType.BLOB): b"blob",
    int(ObjectType.TAG): b"tag",
}


def framed(kind: int, data: bytes) -> bytes:
    """What an object's OID is the hash of, and what is stored."""
    return _head(kind, data) + data


def _head(kind: int, data: bytes) -> bytes:
    return b"%s %d\0" % (_KINDS[kind], len(data))


def object_id(kind: int, data: bytes) -> str:
    """The OID of an object."""
    digest = hashlib.sha1(_head(kind, data), usedforsecurity=False)
    digest.update(data)  # not joined: large trees are copied slower than hashed
    return digest.hexdigest()


def signed(commit: bytes, signature: str) -> bytes:
    """A commit with its signature as the last header."""
    head, _, message = commit.partition(b"\n\n")
    header = b"gpgsig " + signature.encode().replace(b"\n", b"\n ")
    return b"%s\n%s\n\n%s" % (head, header, message)
