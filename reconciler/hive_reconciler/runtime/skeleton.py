"""The root directory of a container: made anew for every start, so nothing in it is trusted.

Only what is bound (`/state`, `/root/.claude`) outlives a run. An agent that turned a directory of
its root into a symbolic link finds it gone; nothing here ever opens what an agent left behind.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from pathlib import Path

from hive_wire.terms import Role

from . import userland
from .base import Bind, RuntimeFailure

DIRECTORIES = (
    *("dev", "etc", "home", "mnt", "opt", "proc", "root", "run", "state", "sys", "tmp", "usr"),
    *("var", "var/cache", "var/lib", "var/log", "var/tmp"),
)
LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}
MANAGER_LINKS = {"hive": "state/hive", "agents": "hive/agents"}
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
# Public parts of the host's /etc that programs of its /usr do not work without.
HOST_ETC = (
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ssl/certs",
    "/etc/ca-certificates",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
)
_OLD = ".old"


def host_binds() -> tuple[Bind, ...]:
    """The userland and the public parts of the host's /etc, read-only."""
    paths = [Path(path) for path in HOST_ETC if os.path.exists(path) and not os.path.islink(path)]
    return (*userland.binds(), *(Bind(path, path) for path in paths))


def make(home: Path, role: Role, binds: tuple[Bind, ...], files: dict[str, str]) -> Path:
    """A fresh root at `home`/root, with a place for every bind; the old one is set aside.

    `files` are written beside FILES. Raises RuntimeFailure, OSError.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Files in it belong to the caller, set-user-id ones too: nobody else may reach them.
    os.chmod(home, 0o700)
    set_aside(home)
    root = home / "root"
    root.mkdir(mode=0o755)
    for name in DIRECTORIES:
        (root / name).mkdir()
    for name in ("tmp", "var/tmp"):
        os.chmod(root / name, 0o1777)
    os.chmod(root / "root", 0o700)
    for name, target in (LINKS | (MANAGER_LINKS if role == "manager" else {})).items():
        if name in LINKS and not userland.has(target.removeprefix("usr/")):
            continue
        (root / name).symlink_to(target)
    for name, text in (FILES | files).items():
        (root / name).write_text(text)
    for bind in binds:
        _place(root, bind)
    return root


def set_aside(home: Path) -> None:
    root = home / "root"
    if os.path.lexists(root):
        root.rename(home / f"root.{secrets.token_hex(4)}{_OLD}")


def sweep(home: Path) -> None:
    """Delete the roots set aside. Slow if an agent wrote much; follows no links."""
    try:
        names = os.listdir(home)
    except FileNotFoundError:
        return
    remove(*(home / name for name in names if name.startswith("root.") and name.endswith(_OLD)))


def remove(*trees: Path) -> None:
    """Delete trees that agents made, as far as possible; follows no links."""
    if not trees:
        return
    # Agents can nest deeper than any recursion of ours goes; these two tools can follow.
    old = [str(tree) for tree in trees]
    command = ["rm", "-rf", "--one-file-system", "--", *old]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        subprocess.run(["chmod", "-R", "u+rwX", "--", *old], capture_output=True, check=False)
        subprocess.run(command, capture_output=True, check=False)


def _place(root: Path, bind: Bind) -> None:
    relative = bind.target.relative_to("/")
    parent = root
    for part in relative.parts[:-1]:
        parent = parent / part
        parent.mkdir(exist_ok=True)
    spot = root / relative
    if not bind.source.is_dir():
        spot.touch()
    elif spot.is_symlink():
        raise RuntimeFailure(
            "BadBind", f"{bind.target} is a link in every container", permanent=True
        )
    else:
        spot.mkdir(exist_ok=True)
