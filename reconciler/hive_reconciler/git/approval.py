"""An operator's own signature under an approval: an SSH signature, beside that of the host."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hive_wire.hivetoml import HiveToml

from ..model.records import Merge, approval_text
from .signing import BEGIN, END, SigningFailed

NAMESPACE = "hive-approval"
_BASE64 = re.compile(r"[A-Za-z0-9+/]{100,4000}={0,2}")
_TIMEOUT = 20  # seconds


def sign(text: str, key: Path) -> str:
    """The signature of `approval_text` as a merge records it. `key` is a private key, or a public
    one whose private half the ssh-agent has. Raises SigningFailed."""
    agent = {name: os.environ[name] for name in ("SSH_AUTH_SOCK", "HOME") if name in os.environ}
    arguments = ["-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(key)]
    lines = _ssh_keygen(_program(), arguments, text.encode(), agent).decode().splitlines()
    return "".join(line for line in lines if line not in (BEGIN, END))


def signer(merge: Merge, commit: str, hive: HiveToml) -> str | None:
    """Who of `[policy] signers` signed this approval of the pinned commit; None: nobody of them.
    Raises SigningFailed where nothing can check it."""
    if not _BASE64.fullmatch(merge.signature):
        return None
    text = approval_text(
        merge.proposal, commit, merge.effect_version, merge.effect_digest, merge.allow_prune
    )
    program = _program()
    with tempfile.TemporaryDirectory() as folder:
        allowed, signature = Path(folder, "allowed"), Path(folder, "signature")
        signature.write_text(f"{BEGIN}\n{merge.signature}\n{END}\n")
        for line in hive.policy.signers:
            name = line.split()[0]
            allowed.write_text(f"{line}\n")
            arguments = ["-Y", "verify", "-n", NAMESPACE, "-I", name, "-s", str(signature)]
            try:
                _ssh_keygen(program, [*arguments, "-f", str(allowed)], text.encode())
            except SigningFailed:
                continue
            return name
    return None


def signature_problem(merge: Merge, commit: str, hive: HiveToml) -> str | None:
    """What is wrong with the signature of an approval."""
    try:
        if signer(merge, commit, hive) is None:
            return "its approval is not signed by any of [policy] signers in hive.toml"
    except SigningFailed as error:
        return error.message
    return None


def _program() -> str:
    found = shutil.which("ssh-keygen")
    if found is None:
        raise SigningFailed("ssh-keygen is not installed: install OpenSSH's client")
    return found


def _ssh_keygen(
    program: str, arguments: list[str], stdin: bytes, environment: Mapping[str, str] | None = None
) -> bytes:
    """What it prints. It knows every kind of key, and the agent. Raises SigningFailed."""
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
