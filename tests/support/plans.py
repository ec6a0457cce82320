"""What plans are made from, in few words."""

from dataclasses import replace

from hive_reconciler.core.containers import Toolchain, restart_key
from hive_reconciler.model.desired import Desired, Valid
from hive_reconciler.model.memory import AgentMemory, Memory
from hive_reconciler.runtime.base import Observed, Phase
from hive_wire.hivetoml import HiveToml
from hive_wire.names import container_name
from hive_wire.spec import AgentSpec

TOOLS = Toolchain("t1", ("python3", "-m", "hive_harness"), (), ())
HIVE = HiveToml(schema=1)
NOW = 1_000_000.0


def uid(name):
    return name.ljust(12, "z")


def valid(name="scout", revision="r1", **fields):
    return Valid(AgentSpec(uid=uid(name), **fields), "be good", revision, "t" * 40)


def running(name, entry, **fields):
    seen = Observed(
        name=container_name(name, entry.spec.role),
        uid=entry.spec.uid,
        phase=Phase.RUNNING,
        revision=entry.revision,
        restart_key=restart_key(name, entry.spec, TOOLS),
        started=NOW - 100,
        exit_status=None,
        memory=1,
        tasks=1,
    )
    return replace(seen, **fields)


def desired(agents, allow_prune=0):
    return Desired("c" * 40, HIVE, agents, allow_prune)


def recalled(agents, **fields):
    """Memory after these agents were read and reached."""
    return Memory(
        {
            entry.spec.uid: AgentMemory(good=entry, ran=entry, name=name, expected=True, **fields)
            for name, entry in agents.items()
        }
    )


def kinds(found):
    return [(a.kind, a.agent) for a in found.changes]
