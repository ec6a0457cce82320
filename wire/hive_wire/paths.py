"""Where everything lies: the root (kept), the runtime directory (gone at boot)."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

SYSTEM_ROOT = Path("/var/lib/hyperhive")
SYSTEM_RUN = Path("/run/hyperhive")

# Inside a container.
CONTAINER_RUN = Path("/run/hive")
CONTAINER_STATE = Path("/state")
CONTAINER_CLAUDE = Path("/root/.claude")
CONTAINER_HIVE = Path("/hive")
CONTAINER_APPLIED = Path("/run/hive-applied.git")
CONTAINER_REHEARSAL = Path("/run/hive-rehearsal")
AGENT_FILE = "agent.json"


class UnsafeDirectory(Exception):
    """A directory that must be ours belongs to somebody else."""


@dataclass(frozen=True)
class Layout:
    """All paths of one root. `tag` keeps machine names and cgroups of several roots apart."""

    root: Path
    run: Path
    tag: str

    @classmethod
    def of(cls, root: str | os.PathLike[str] | None = None) -> Layout:
        """The layout of `root`, by default the root of this user."""
        path = Path(os.path.realpath(root if root is not None else default_root()))
        if path == SYSTEM_ROOT:  # also for the processes of the system service that are not root
            return cls(path, SYSTEM_RUN, "")
        short = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
        base = os.environ.get("XDG_RUNTIME_DIR")
        if base and os.path.isdir(base):
            run = Path(os.path.realpath(base)) / f"hive-{short}"
        else:
            run = Path(os.path.realpath("/tmp")) / f"hive-{os.geteuid()}-{short}"
        return cls(path, run, f"-{short}")

    # -- kept ------------------------------------------------------------------

    @property
    def hive_git(self) -> Path:
        return self.root / "hive.git"

    @property
    def inbox_git(self) -> Path:
        return self.root / "inbox.git"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def broker(self) -> Path:
        return self.root / "broker"

    @property
    def dashboard(self) -> Path:
        return self.root / "dashboard"

    @property
    def gateway(self) -> Path:
        return self.root / "gateway"

    @property
    def reconciler(self) -> Path:
        """Journal, quarantine, tombstones: what is the reconciler's and not git's."""
        return self.root / "reconciler"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def rehearsal(self) -> Path:
        """Scripts of people, for agents with the rehearsal engine."""
        return self.root / "rehearsal"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    def agent(self, uid: str) -> Path:
        """Holds `state`, `claude`, `port`, `root` of one agent."""
        return self.root / "agents" / uid

    def make_logs(self) -> None:
        """For nobody else: what agents print is in them, and what `hive up --detach` says."""
        self.logs.mkdir(exist_ok=True)
        self.logs.chmod(0o700)

    # -- gone at boot ----------------------------------------------------------

    @property
    def host_sock(self) -> Path:
        return self.run / "host.sock"

    @property
    def requests_sock(self) -> Path:
        return self.run / "requests.sock"

    @property
    def broker_sock(self) -> Path:
        return self.run / "broker.sock"

    @property
    def gateway_sock(self) -> Path:
        return self.run / "gateway.sock"

    @property
    def dashboard_sock(self) -> Path:
        return self.run / "dashboard.sock"

    @property
    def agents_run(self) -> Path:
        return self.run / "agents"

    def agent_run(self, uid: str) -> Path:
        """The directory that is /run/hive in the container."""
        return self.agents_run / uid

    def machine(self, container: str) -> str:
        return container + self.tag

    def make_run(self) -> None:
        """Make the runtime directory, or refuse one that another user made.

        That of the system service is root's; its other processes only use it. Raises
        UnsafeDirectory.
        """
        if not self.tag and os.geteuid() != 0:
            if not self.run.is_dir() or self.run.lstat().st_uid != 0:
                raise UnsafeDirectory(f"{self.run} is made by root: start hive-c0re first")
            return
        mode = 0o711 if not self.tag else 0o700
        self.run.mkdir(mode=mode, parents=True, exist_ok=True)
        status = self.run.lstat()
        if self.run.is_symlink() or status.st_uid != os.geteuid():
            raise UnsafeDirectory(
                f"{self.run} belongs to user {status.st_uid}; remove it or set XDG_RUNTIME_DIR"
            )
        os.chmod(self.run, stat.S_IMODE(status.st_mode) & mode)  # never wider than it is


def default_root() -> Path:
    """`$HIVE_ROOT`; else `/var/lib/hyperhive` for root, `$XDG_STATE_HOME/hyperhive` for others."""
    if chosen := os.environ.get("HIVE_ROOT"):
        return Path(chosen)
    if os.geteuid() == 0:
        return SYSTEM_ROOT
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(
        os.path.expanduser("~"), ".local/state"
    )
    return Path(state) / "hyperhive"
