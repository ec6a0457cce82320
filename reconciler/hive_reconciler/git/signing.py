"""The host's key: who merged. Signatures are SSH signatures, as `git verify-commit` reads them."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pygit2

from .errors import HiveError

log = logging.getLogger(__name__)

PRINCIPAL = "hive-c0re"
_TIMEOUT = 20  # seconds


class SigningFailed(HiveError):
    """ssh-keygen did not sign or is broken."""


class HostKey:
    """ed25519 key of this root, made at first use. Without ssh-keygen merges are unsigned."""

    def __init__(self, folder: Path) -> None:
        self._key = folder / "host_ed25519"
        self.allowed_signers = folder / "allowed_signers"
        self._program = shutil.which("ssh-keygen")

    @property
    def available(self) -> bool:
        return self._program is not None

    def ensure(self) -> None:
        """Make the key and the list of allowed signers where they are missing."""
        if self._program is None:
            log.warning("ssh-keygen is not installed: merges are not signed")
            return
        self._key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._key.exists():
            try:
                self._make()
            except SigningFailed as error:
                log.warning("%s; merges are not signed", error.message)
                self._program = None
                return
        public = Path(f"{self._key}.pub").read_text().split()
        line = f'{PRINCIPAL} namespaces="git" {public[0]} {public[1]}\n'
        if not self.allowed_signers.exists() or self.allowed_signers.read_text() != line:
            self.allowed_signers.write_text(line)

    def _make(self) -> None:
        with tempfile.TemporaryDirectory(dir=self._key.parent) as folder:
            fresh = Path(folder, self._key.name)
            self._run(["-q", "-t", "ed25519", "-N", "", "-C", PRINCIPAL, "-f", str(fresh)], b"")
            os.replace(f"{fresh}.pub", f"{self._key}.pub")
            os.replace(fresh, self._key)

    def sign(self, content: str) -> str | None:
        """The signature of a commit's text; None where nothing can sign."""
        if self._program is None:
            return None
        done = self._run(["-Y", "sign", "-q", "-n", "git", "-f", str(self._key)], content.encode())
        return done.decode()

    def verify(self, commit: pygit2.Commit) -> str | None:
        """What is wrong with a commit's signature; None when it is the host's."""
        signature, payload = commit.gpg_signature
        if not signature:
            return "it is not signed"
        if self._program is None:
            return "there is no ssh-keygen to check the signature with"
        with tempfile.NamedTemporaryFile() as file:
            file.write(signature)
            file.flush()
            arguments = ["-Y", "verify", "-n", "git", "-I", PRINCIPAL, "-s", file.name]
            try:
                self._run([*arguments, "-f", str(self.allowed_signers)], payload)
            except SigningFailed:
                return "its signature is not that of the host key"
        return None

    def _run(self, arguments: list[str], stdin: bytes) -> bytes:
        assert self._program is not None
        return ssh_keygen(self._program, arguments, stdin)


def ssh_keygen(
    program: str, arguments: list[str], stdin: bytes, environment: Mapping[str, str] | None = None
) -> bytes:
    """What it prints. Raises SigningFailed."""
    try:
        done = subprocess.run(
            [program, *arguments],
            input=stdin,
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
            env={"PATH": os.environ.get("PATH", ""), **(environment or {})},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SigningFailed(f"ssh-keygen failed: {error}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or f"exit {done.returncode}"
        raise SigningFailed(f"ssh-keygen failed: {said}")
    return done.stdout
