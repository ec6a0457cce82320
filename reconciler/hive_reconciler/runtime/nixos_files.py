"""Files of containers under NixOS: confs, roots, garbage-collection roots, marks. Blocking."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path

from hive_wire.paths import Layout

from . import skeleton
from .base import RuntimeFailure
from .nixos_conf import Conf, parse, render
from .nixos_host import Places

_TAGGED = re.compile(r".*-[0-9a-f]{8}")  # a machine of another root than the system's


class Files:
    """Those of one root of the hive; confs of other roots and people are left alone."""

    def __init__(self, layout: Layout, places: Places) -> None:
        self._layout = layout
        self._places = places
        self._marks = layout.run / "nixos"

    def confs(self) -> tuple[Conf, ...]:
        """All of ours. Raises RuntimeFailure when one cannot be read."""
        try:
            files = sorted(self._places.confs.glob("*.conf"))
            found = (parse(file.read_text(errors="replace")) for file in files)
            return tuple(conf for conf in found if conf is not None and self._ours(conf))
        except OSError as error:
            raise RuntimeFailure("ObserveFailed", f"cannot read the confs: {error}") from error

    def conf(self, name: str) -> Conf | None:
        """Raises RuntimeFailure when somebody else has a container of that name."""
        file = self._conf_file(name)
        try:
            text = file.read_text(errors="replace")
        except FileNotFoundError:
            return None
        conf = parse(text)
        if conf is None or not self._ours(conf):
            raise RuntimeFailure(
                "NameTaken", f"{file} is not ours: rename the agent or that container"
            )
        return conf

    def _ours(self, conf: Conf) -> bool:
        return conf.root == str(self._layout.root)

    def write(self, conf: Conf) -> None:
        """Durable, in one rename: the unit reads the old one or the new one."""
        file = self._conf_file(conf.name)
        self._places.confs.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = file.with_suffix(".new")
        with fresh.open("w") as handle:
            os.fchmod(handle.fileno(), 0o600)
            handle.write(render(conf))
            handle.flush()
            os.fsync(handle.fileno())
        fresh.rename(file)
        _sync(file.parent)

    def seal(self) -> None:
        """Let nobody but root enter containers' file systems: what root inside makes there is
        root's outside, set-user-id programs too."""
        self._places.roots.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chmod(self._places.roots, 0o700)

    def keep(self, name: str, slot: str, system: str) -> None:
        """Safe from garbage collection. Slots `next` and `running` of one container."""
        link = self._gcroot(name, slot)
        link.parent.mkdir(parents=True, exist_ok=True)
        fresh = link.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(system)
        fresh.rename(link)

    def cut_off(self) -> tuple[Path, ...]:
        """Directories in which somebody builds or evaluates, or did so until it was killed."""
        work = self._layout.root / "builds"
        return tuple(work / name for name in os.listdir(work)) if work.is_dir() else ()

    def sweep(self, left: tuple[Path, ...]) -> None:
        """Remove what a killed process left: results there hold whole systems in the store, as do
        collection roots of containers that were built and never got their conf."""
        skeleton.remove(*left)
        with contextlib.suppress(FileNotFoundError):
            for link in self._places.gcroots.iterdir():
                machine, _, slot = link.name.rpartition("-")
                ours = machine.endswith(self._layout.tag) and slot.startswith(("next", "running"))
                if not self._layout.tag and _TAGGED.fullmatch(machine):
                    continue
                if ours and not (self._places.confs / f"{machine}.conf").exists():
                    link.unlink(missing_ok=True)

    def refuse_taken(self, name: str) -> None:
        """For a name of which we have no conf: ours is written before there is a root, and goes
        after it. Raises RuntimeFailure, NameTaken."""
        if os.path.lexists(root := self._root(name)):
            raise RuntimeFailure(
                "NameTaken", f"{root} is not ours: rename the agent, or move that directory away"
            )

    def clear_root(self, name: str) -> None:
        """Remove the container's own file system: what agents keep lies elsewhere."""
        root = self._root(name)
        if not os.path.lexists(root):
            return
        skeleton.remove(root)
        if os.path.lexists(root):
            raise RuntimeFailure("DestroyFailed", f"cannot remove {root}: remove it by hand")

    def forget(self, name: str) -> None:
        """Everything that starting made. The conf goes last: until then it is destroyed again."""
        self.clear_root(name)
        for directory in self._places.per_container(self._layout.machine(name)):
            shutil.rmtree(directory, ignore_errors=True)
        for slot in ("next", "running"):
            self._gcroot(name, slot).unlink(missing_ok=True)
        self.mark_stopped(name, stopped=False)
        self._conf_file(name).unlink(missing_ok=True)

    def mark_stopped(self, name: str, *, stopped: bool) -> None:
        """Whether the end of the last run was our doing."""
        if stopped:
            self._marks.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._marks / name).touch()
        else:
            (self._marks / name).unlink(missing_ok=True)

    def stopped(self) -> frozenset[str]:
        with contextlib.suppress(FileNotFoundError):
            return frozenset(os.listdir(self._marks))
        return frozenset()

    def _conf_file(self, name: str) -> Path:
        return self._places.confs / f"{self._layout.machine(name)}.conf"

    def _root(self, name: str) -> Path:
        return self._places.roots / self._layout.machine(name)

    def _gcroot(self, name: str, slot: str) -> Path:
        return self._places.gcroots / f"{self._layout.machine(name)}-{slot}"


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
