"""Run as a script: kills a writer of hive.git before each of its steps on the disk, one after the
other, and lets a new start look at what is left each time.

    killed_writer.py ROOT submit|refuse|approve|deny|withdraw

Each life is a fork of this process over a copy of ROOT, in which proposal 1 is open. Prints how
many steps there were. Fails with what a life left behind.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from hive_reconciler.git.decide import Decisions
from hive_reconciler.git.errors import HiveError
from hive_reconciler.git.first import FirstCommit
from hive_reconciler.git.repositories import Repositories, open_repositories
from hive_reconciler.git.submit import NewAgent, Submissions
from hive_reconciler.git.verify import verify
from hive_reconciler.git.views import Views
from hive_reconciler.model.proposal import Requester
from hive_reconciler.model.swarm import HostAbilities
from hive_wire.paths import Layout

USER = Requester.user("ada")
NEW = {"submit": "open", "refuse": "rejected"}  # what becomes of another proposal
ENDS = {"approve": "merged", "deny": "denied", "withdraw": "withdrawn"}


def opened(root: Path) -> Repositories:
    return open_repositories(Layout.of(root), FirstCommit(), HostAbilities())


def act(all_: Repositories, what: str) -> None:
    decisions = Decisions(all_)
    match what:
        case "submit":
            Submissions(all_, decisions).spawn(USER, NewAgent("other", "x", None, None, {}))
        case "refuse":
            beyond = NewAgent("other", "x", None, None, {"limits.memory": "64G"})
            Submissions(all_, decisions).spawn(USER, beyond)
        case "approve":
            effect = Views(all_, decisions).one(1).effect
            assert effect is not None
            decisions.approve(1, effect.digest, "root")
        case "deny":
            decisions.end(1, "denied", "no", "root")
        case "withdraw":
            decisions.end(1, "withdrawn", "", "root")


def kill_at(step: int) -> None:
    """SIGKILL in front of so manieth change of the file system, in whatever thread it is."""
    count = itertools.count()

    def guarded(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: object, **keywords: object) -> object:
            reads = name == "open" and not int(arguments[1]) & os.O_CREAT  # type: ignore[call-overload]
            if not reads and next(count) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **keywords)

        setattr(os, name, call)

    for name in ("open", "rename", "replace", "mkdir", "unlink", "fchmod", "fsync"):
        guarded(name)


def life(call: Callable[[], None]) -> int:
    """Its exit status, or less than 0 for a signal."""
    pid = os.fork()
    if pid == 0:
        try:
            call()
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def look(root: Path, what: str, *, done: bool) -> None:
    """After a start: the step was taken wholly or not at all, and can be taken now."""
    git = ["git", f"--git-dir={root / 'hive.git'}"]
    subprocess.run([*git, "fsck", "--strict", "--no-dangling"], check=True, capture_output=True)
    all_ = opened(root)
    proposals = Views(all_, Decisions(all_)).newest(None, 10)
    states = [proposal.state for proposal in reversed(proposals)]
    if what in NEW:
        taken = states == ["open", NEW[what]]
        assert taken or states == ["open"], states
    else:
        taken = states == [ENDS[what]]
        assert taken or states == ["open"], states
    assert taken or not done, states
    agents = Views(all_, Decisions(all_)).read(None).agents.keys()
    assert agents == ({"hm1nd", "scout"} if taken and what == "approve" else {"hm1nd"}), agents
    if not taken:
        act(all_, what)
    else:
        try:
            act(all_, what)
        except HiveError:
            pass  # it has ended
    assert not list((root / "hive.git" / "refs").rglob("*.lock"))
    assert verify(Layout.of(root)).ok


def main(root: Path, what: str) -> None:
    for step in itertools.count():
        copy = root.with_name(f"{root.name}-{step}")
        shutil.copytree(root, copy, symlinks=True)

        def killed(copy: Path = copy, step: int = step) -> None:
            all_ = opened(copy)
            kill_at(step)
            act(all_, what)

        status = life(killed)
        assert status in (0, -signal.SIGKILL), f"step {step}: exit {status}"
        done = status == 0
        assert life(lambda: look(copy, what, done=done)) == 0, f"step {step}"  # noqa: B023
        shutil.rmtree(copy)
        if done:
            print(step)
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
