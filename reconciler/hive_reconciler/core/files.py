"""Directories and small files that the reconciler makes for agents."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hive_wire.paths import AGENT_FILE, Layout
from hive_wire.protocol import AgentFile

BROKER_USER, GATEWAY_USER, DASHBOARD_USER = "hive-broker", "hive-gateway", "hive-dashboard"
HIVE_GROUP, SOCKETS_GROUP, BROKER_GROUP = "hive", "hive-sockets", "hive-broker"
RUN_GROUP = "hive-run"
NO_SPACE = "No space left on device"


@dataclass(frozen=True)
class Owner:
    uid: int
    gid: int
    mode: int


@dataclass(frozen=True)
class Owners:
    """Who owns the runtime directories, and their modes."""

    run: Owner
    agents: Owner
    agent: Owner
    model: Owner

    @classmethod
    def of(cls, layout: Layout) -> Owners:
        """Separate users where the system service has them, else the caller and nobody beside."""
        me = (os.geteuid(), os.getegid())
        mine = cls(Owner(*me, 0o700), Owner(*me, 0o711), Owner(*me, 0o755), Owner(*me, 0o755))
        if layout.tag:
            return mine
        try:
            run, sockets = (grp.getgrnam(g).gr_gid for g in (RUN_GROUP, SOCKETS_GROUP))
            broker = grp.getgrnam(BROKER_GROUP).gr_gid
            gateway = pwd.getpwnam(GATEWAY_USER)
        except KeyError:
            return mine
        return cls(
            Owner(0, run, 0o1771),  # its members bind their sockets in it, and remove no others
            Owner(0, sockets, 0o710),
            Owner(0, broker, 0o1775),
            Owner(gateway.pw_uid, gateway.pw_gid, 0o755),
        )


def make_run(layout: Layout, owners: Owners) -> None:
    """The runtime directory and `agents/` in it. Raises UnsafeDirectory."""
    layout.make_run()
    _own(layout.run, owners.run)
    layout.agents_run.mkdir(exist_ok=True)
    _own(layout.agents_run, owners.agents)


def make_home(layout: Layout, uid: str) -> Path:
    """Where an agent's things lie. A setuid program that root in a container makes there is root's
    out here: nobody else gets near."""
    home = layout.agent(uid)
    home.parent.mkdir(parents=True, exist_ok=True)
    home.parent.chmod(0o700)
    home.mkdir(exist_ok=True, mode=0o711)
    return home


def make_agent(layout: Layout, uid: str, owners: Owners) -> None:
    """The directories of one agent. What exists keeps what is in it."""
    home = make_home(layout, uid)
    for part in (
        "state",
        "claude",
    ):  # never followed, never re-owned: the agent owns what is inside
        with contextlib.suppress(FileExistsError):
            (home / part).mkdir(mode=0o755)
    run = layout.agent_run(uid)
    run.mkdir(exist_ok=True)
    _own(run, owners.agent)
    (run / "model").mkdir(exist_ok=True)
    _own(run / "model", owners.model)


def write_agent_file(layout: Layout, content: AgentFile) -> None:
    """Replace agent.json in one rename."""
    text = content.model_dump_json(indent=2) + "\n"
    path = layout.agent_run(content.uid) / AGENT_FILE
    write_atomically(path, text.encode(), 0o644, durable=False)  # it is gone at boot


def write_atomically(path: Path, data: bytes, mode: int = 0o600, *, durable: bool = True) -> None:
    """Write beside, fsync, rename, fsync the directory: the old content or the new, never half.

    Without `durable` nothing is fsynced: whole for readers, lost with the machine.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            if durable:
                os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    if not durable:
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _own(path: Path, owner: Owner) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.geteuid() == 0:
            os.fchown(handle, owner.uid, owner.gid)
        os.fchmod(handle, owner.mode)
    finally:
        os.close(handle)


def full_disk(message: str) -> tuple[str, str] | None:
    """Reason and message with the cure, where `message` tells of a full disk."""
    if NO_SPACE not in message:
        return None
    return "DiskFull", f"the disk is full: {message}. Free some space; it goes on by itself"
