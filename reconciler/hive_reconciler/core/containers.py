"""From an agent's spec to the container that runs it: pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache

from hive_wire.names import container_name
from hive_wire.paths import (
    CONTAINER_APPLIED,
    CONTAINER_CLAUDE,
    CONTAINER_REHEARSAL,
    CONTAINER_RUN,
    CONTAINER_STATE,
    Layout,
)
from hive_wire.protocol import AgentFile
from hive_wire.spec import AgentSpec, Takes, takes

from ..model.desired import Desired, Valid
from ..runtime.base import Bind, Container


@dataclass(frozen=True)
class Toolchain:
    """What of the host runs inside containers. `key` changes when a restart is needed for it."""

    key: str
    argv: tuple[str, ...]  # starts the harness
    environment: tuple[tuple[str, str], ...]
    binds: tuple[Bind, ...]
    claude_binds: tuple[Bind, ...] = ()
    claude_problem: str = ""  # why there is no Claude Code CLI, and the cure

    def problem_of(self, spec: AgentSpec) -> str:
        """Why this spec's engine cannot run here; "" when it can."""
        return self.claude_problem if spec.engine == "claude" else ""


def restart_key(name: str, spec: AgentSpec, toolchain: Toolchain) -> str:
    """Digest of all that needs a restart when it changes."""
    fields = spec.model_dump(mode="json", include=_restarting())
    text = json.dumps([name, fields, toolchain.key], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@cache
def _restarting() -> set[str]:
    return {field for field in AgentSpec.model_fields if takes(field) is Takes.RESTART}


def build(
    layout: Layout, desired: Desired, name: str, valid: Valid, toolchain: Toolchain
) -> Container:
    """The container of a usable spec with a uid."""
    spec = valid.spec
    assert spec.uid is not None
    home = layout.agent(spec.uid)
    binds = [
        Bind(layout.agent_run(spec.uid), CONTAINER_RUN),
        Bind(home / "state", CONTAINER_STATE, read_only=False, idmap=True),
        Bind(home / "claude", CONTAINER_CLAUDE, read_only=False, idmap=True),
        *toolchain.binds,
    ]
    if spec.role == "manager":
        binds.append(Bind(layout.hive_git, CONTAINER_APPLIED, idmap=True))
    if spec.engine == "claude":
        binds.extend(toolchain.claude_binds)
    else:
        binds.append(Bind(layout.rehearsal, CONTAINER_REHEARSAL, idmap=True))
    return Container(
        name=container_name(name, spec.role),
        uid=spec.uid,
        agent=name,
        role=spec.role,
        revision=valid.revision,
        restart_key=restart_key(name, spec, toolchain),
        memory=spec.limits.memory_bytes,
        cpus=spec.limits.cpus,
        tasks=spec.limits.tasks,
        limits_required=desired.hive.limits.required,
        network=spec.network.mode,
        binds=tuple(binds),
        environment=toolchain.environment,
        argv=toolchain.argv,
        commit=desired.commit if desired.agents.get(name) is valid else None,  # else an older one
    )


def agent_file(name: str, valid: Valid) -> AgentFile:
    """What the harness reads as /run/hive/agent.json."""
    spec = valid.spec
    assert spec.uid is not None
    return AgentFile(
        uid=spec.uid,
        name=name,
        role=spec.role,
        engine=spec.engine,
        model=spec.model,
        description=spec.description,
        prompt=valid.prompt,
        tools=spec.tools.builtin,
        network=spec.network.mode,
        revision=valid.revision,
        ask=spec.tools.ask,
        allow=spec.tools.allow,
        compact_at=spec.session.compact_at,
        when_cold=spec.session.when_cold,
    )
