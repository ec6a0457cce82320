"""The host's key: who merged. Signatures are SSH signatures, as `git verify-commit` reads them."""

from __future__ import annotations

import binascii
import hashlib
import os
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path

import pygit2
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
    load_ssh_public_key,
)

from .durable import sync_tree
from .errors import HiveError

PRINCIPAL = "hive-c0re"
NAMESPACE = "git"
_TYPE = b"ssh-ed25519"
_MAGIC = b"SSHSIG"
_HASHES = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"


class SigningFailed(HiveError):
    """Nothing was signed."""


class HostKey:
    """The ed25519 key of this root, made by `ensure`. A reader needs the public half alone."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "host_ed25519"
        self.allowed_signers = folder / "allowed_signers"
        self._key: Ed25519PrivateKey | None = None
        self._signers: tuple[Ed25519PublicKey, ...] | None = None

    def ensure(self) -> None:
        """Make the key and the list of allowed signers where they are missing. Raises
        SigningFailed: nothing is merged that nobody could prove."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._path.exists():
                self._make()
            key = load_ssh_private_key(self._path.read_bytes(), None)
            if not isinstance(key, Ed25519PrivateKey):
                raise ValueError("it is no ed25519 key")
            line = f'{PRINCIPAL} namespaces="{NAMESPACE}" {_public(key.public_key())}\n'
            if not self.allowed_signers.exists() or self.allowed_signers.read_text() != line:
                self.allowed_signers.write_text(line)
        except (OSError, ValueError, UnsupportedAlgorithm) as error:
            raise SigningFailed(
                f"{self._path}, which signs merges, cannot be used: {error}. Restore it from a "
                "backup; without it `hive verify` proves no merge"
            ) from None
        self._key = key

    def _make(self) -> None:
        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        public = f"{_public(key.public_key())} {PRINCIPAL}\n".encode()
        for path, data, mode in (
            (Path(f"{self._path}.pub"), public, 0o644),
            (self._path, private, 0o600),
        ):
            fresh = Path(f"{path}.new")
            fresh.unlink(missing_ok=True)
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, path)
        sync_tree(self._path.parent)  # a merge that it signs may be on disk at any moment

    def sign(self, content: bytes) -> str:
        """The signature of a commit's text, in armour. Raises SigningFailed."""
        if self._key is None:
            raise SigningFailed("there is no host key here to sign with")
        public = _blob(self._key.public_key())
        signed = self._key.sign(_to_sign(content, b"sha512"))
        body = _MAGIC + struct.pack(">I", 1)
        body += _strings(public, NAMESPACE.encode(), b"", b"sha512", _strings(_TYPE, signed))
        text = b64encode(body).decode()
        lines = [text[start : start + 70] for start in range(0, len(text), 70)]
        return "\n".join((BEGIN, *lines, END))

    def verify(self, commit: pygit2.Commit) -> str | None:
        """What is wrong with a commit's signature; None when it is the host's."""
        signature, payload = commit.gpg_signature
        if not signature:
            return "it is not signed"
        if self._signers is None:
            self._signers = self._read_signers()
        if not self._signers:
            return f"{self.allowed_signers}, which names the host key, is missing or damaged"
        try:
            blob, algorithm, signed = _parse(signature.decode())
            for signer in self._signers:
                if _blob(signer) == blob:
                    signer.verify(signed, _to_sign(payload, algorithm))
                    return None
        except (ValueError, InvalidSignature):
            pass
        return "its signature is not that of the host key"

    def _read_signers(self) -> tuple[Ed25519PublicKey, ...]:
        try:
            lines = self.allowed_signers.read_text().splitlines()
            keys = [load_ssh_public_key(" ".join(line.split()[-2:]).encode()) for line in lines]
        except (OSError, ValueError, UnsupportedAlgorithm):
            return ()
        return tuple(key for key in keys if isinstance(key, Ed25519PublicKey))


def _public(key: Ed25519PublicKey) -> str:
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _blob(key: Ed25519PublicKey) -> bytes:
    return _strings(_TYPE, key.public_bytes(Encoding.Raw, PublicFormat.Raw))


def _strings(*values: bytes) -> bytes:
    """Each with its length in front, as SSH writes them."""
    return b"".join(struct.pack(">I", len(value)) + value for value in values)


def _to_sign(content: bytes, algorithm: bytes) -> bytes:
    """What an SSH signature signs (OpenSSH's PROTOCOL.sshsig). Raises ValueError."""
    if algorithm not in _HASHES:
        raise ValueError("an unknown digest")
    digest = _HASHES[algorithm](content).digest()
    return _MAGIC + _strings(NAMESPACE.encode(), b"", algorithm, digest)


def _parse(armour: str) -> tuple[bytes, bytes, bytes]:
    """(public key, digest algorithm, signature) of one for our namespace. Raises ValueError."""
    lines = armour.strip().splitlines()
    if lines[0] != BEGIN or lines[-1] != END:
        raise ValueError("no SSH signature")
    try:
        body = b64decode("".join(lines[1:-1]), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    head = _MAGIC + struct.pack(">I", 1)
    if not body.startswith(head):
        raise ValueError("another version")
    public, namespace, _, algorithm, signature = _split(body[len(head) :], 5)
    kind, signed = _split(signature, 2)
    if namespace != NAMESPACE.encode() or kind != _TYPE:
        raise ValueError("of another kind")
    return public, algorithm, signed


def _split(data: bytes, count: int) -> Iterator[bytes]:
    """So many strings, and nothing behind them. Raises ValueError."""
    found = []
    for _ in range(count):
        if len(data) < 4:
            raise ValueError("it is cut off")
        (length,) = struct.unpack(">I", data[:4])
        if len(data) < 4 + length:
            raise ValueError("it is cut off")
        found.append(data[4 : 4 + length])
        data = data[4 + length :]
    if data:
        raise ValueError("it goes on")
    return iter(found)
