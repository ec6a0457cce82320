"""A real sshd for one connection at a time, with users, groups and /run of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

START = """
for file in passwd group shadow; do mount --bind "$1/$file" /etc/$file; done
mount -t tmpfs run /run
mkdir -m 755 /run/sshd
exec "$2" -i -e -f "$1/config"
"""


@dataclass(frozen=True)
class Sshd:
    """`user` may log in with the key at `folder`/key and has its home at `folder`/home."""

    folder: Path
    user: str
    program: str
    libraries: str

    @property
    def environment(self) -> dict[str, str]:
        """For git on the other side of the connection. As root: sshd starts in namespaces."""
        proxy = f"unshare --mount --propagation private -- {self.folder}/start"
        options = {
            "ProxyCommand": proxy,
            "IdentityFile": f"{self.folder}/key",
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
        }
        words = " ".join(f"-o '{name}={value}'" for name, value in options.items())
        return {**os.environ, "GIT_SSH_COMMAND": f"ssh -F none {words}"}


def make_sshd(folder: Path, user: str, uid: int, gid: int, groups: dict[str, int]) -> Sshd:
    """Skips the test where there is no sshd and apt cannot bring one."""
    program, libraries = _program(folder)
    home = folder / "home"
    home.mkdir()
    os.chown(home, uid, gid)
    _write(folder / "passwd", f"root:x:0:0::/root:/bin/sh\n{user}:x:{uid}:{gid}::{home}:/bin/sh\n")
    with (folder / "passwd").open("a") as passwd:
        passwd.write("sshd:x:64124:65534::/run/sshd:/bin/false\n")
    lines = [f"{name}:x:{number}:{user}\n" for name, number in groups.items()]
    _write(folder / "group", "".join(["root:x:0:\n", "nogroup:x:65534:\n", *lines]))
    _write(folder / "shadow", f"{user}:*:19000::::::\n", 0o600)
    for key in ("key", "host"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
        subprocess.run(command, check=True)
    settings = (f"HostKey {folder}/host", f"AuthorizedKeysFile {folder}/key.pub")
    rules = ("StrictModes no", "PasswordAuthentication no", "LogLevel ERROR", "PidFile none")
    _write(folder / "config", "\n".join((*settings, *rules, "")))
    start = f"#!/bin/sh\nexport LD_LIBRARY_PATH={libraries}\nset -e -- {folder} {program}\n{START}"
    _write(folder / "start", start, 0o755)
    return Sshd(folder, user, program, libraries)


def _program(folder: Path) -> tuple[str, str]:
    """sshd and the directory of its libraries; taken out of its package, never installed."""
    found = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")
    if found is not None:
        return found, ""
    if shutil.which("apt-get") is None:
        pytest.skip("needs sshd: install OpenSSH's server")
    packages = folder / "packages"
    packages.mkdir()
    got = subprocess.run(
        ["apt-get", "download", "-q", "openssh-server", "libwrap0"],
        cwd=packages, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if got.returncode:
        pytest.skip(f"needs sshd, and apt-get cannot bring it: {got.stderr.strip()[-300:]}")
    for package in packages.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(packages)], check=True)
    (library,) = packages.glob("usr/lib/*/libwrap.so.0")
    return str(packages / "usr/sbin/sshd"), str(library.parent)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.write_text(text)
    path.chmod(mode)
