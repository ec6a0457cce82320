"""The first commit of a new swarm: settings, and a manager that knows its work."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.resources import files

import tomli_w

from hive_wire.names import DEFAULT_MANAGER, name_problem, new_uid
from hive_wire.terms import EngineName

from ..model.glue import FLAKE, LOCK, flake_lock, flake_nix
from ..model.tree import FILE
from .errors import Refused
from .listing import Entry
from .store import Store
from .trees import EMPTY, Trees

WORKER = "worker"


@dataclass(frozen=True)
class FirstCommit:
    """What a person chose when the root was made."""

    manager: str = DEFAULT_MANAGER
    engine: EngineName = "claude"


def template(name: str) -> str:
    return files("hive_reconciler.git").joinpath("templates", name).read_text("utf-8")


def first_files(first: FirstCommit) -> dict[str, str]:
    """{path: text} of the first tree. Raises Refused for a bad manager name."""
    problem = name_problem(first.manager)
    if problem:
        raise Refused(problem)
    worker = {
        "templates": {WORKER: {"description": "an agent", "prompt_text": template("worker.md")}}
    }
    here = f"agents/{first.manager}/"
    return {
        "hive.toml": template("hive.toml").replace("@engine@", first.engine)
        + "\n# What `spawn` fills in: keys of agent.toml, and the text of prompt.md.\n"
        + tomli_w.dumps(worker, multiline_strings=True),
        FLAKE: flake_nix(platform.machine()),
        LOCK: flake_lock(),
        here + "agent.toml": tomli_w.dumps(
            {
                "role": "manager",
                "uid": new_uid(),
                "description": "runs the swarm for the operator",
            }
        ),
        here + "agent.nix": template("agent.nix"),
        here + "prompt.md": template("manager.md"),
    }


def make_first_commit(store: Store, trees: Trees, first: FirstCommit) -> str:
    """Write the root commit; the OID. No ref is made. Inside a scratch."""
    tree = EMPTY
    for path, text in first_files(first).items():
        tree = trees.put(tree, path, Entry(FILE, trees.write_blob(text.encode())))
    return trees.write_commit(store.commit_text("Start the swarm\n", tree, ()))
