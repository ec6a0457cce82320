"""Git objects as bytes."""

from __future__ import annotations

import hashlib

import pygit2
from pygit2.enums import ObjectType

from .errors import Refused

Raw = tuple[int, bytes]  # an object's type and content
_KINDS = {
    int(ObjectType.COMMIT): b"commit",
    int(ObjectType.TREE): b"tree",
    int(ObjectType.BLOB): b"blob",
    int(ObjectType.TAG): b"tag",
}


def header(kind: int, data: bytes) -> bytes:
    """What an object's OID is the hash of, and what is stored, in front of its content."""
    return b"%s %d\0" % (_KINDS[kind], len(data))


def object_id(kind: int, data: bytes) -> str:
    """The OID of an object."""
    digest = hashlib.sha1(header(kind, data), usedforsecurity=False)
    digest.update(data)  # not joined: large trees are copied slower than hashed
    return digest.hexdigest()


class _Full(pygit2.OdbBackend):
    """Has whatever it is given: libgit2 only hashes it."""

    def exists_cb(self, oid: pygit2.Oid) -> bool:
        return True


_hashing = pygit2.Odb()
_hashing.add_backend(_Full(), 1)


def attested_id(kind: int, data: bytes) -> str:
    """The OID of a foreign object, by the hash of libgit2 that finds out when content was made
    to have the OID of another. Slower, so ours take `object_id`. Raises Refused."""
    try:
        return str(_hashing.write(kind, data))
    except pygit2.GitError as error:
        raise Refused(f"it has an object with a forged id: {error}") from None


def signed(commit: bytes, signature: str) -> bytes:
    """A commit with its signature as the last header."""
    head, _, message = commit.partition(b"\n\n")
    header = b"gpgsig " + signature.encode().replace(b"\n", b"\n ")
    return b"%s\n%s\n\n%s" % (head, header, message)
