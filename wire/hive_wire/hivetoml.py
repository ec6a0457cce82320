"""hive.toml: what holds for the whole swarm."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from .spec import AgentSpec, parse_size
from .terms import NetworkMode

ProposalClass = Literal["power"]
SIGNER = r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63} [a-z0-9@.-]+ [A-Za-z0-9+/]+=*$"


def _size(text: str) -> str:
    parse_size(text)
    return text


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Policy(Part):
    """Bounds that a person wrote. Read from the base of a proposal, never from its head."""

    auto_approve: Annotated[
        tuple[ProposalClass, ...], Field(description="Classes of proposals that need no person")
    ] = ("power",)
    max_memory: Annotated[
        str, AfterValidator(_size), Field(description="Largest limits.memory")
    ] = "8G"
    max_usd_per_day: Annotated[
        float, Field(ge=0, allow_inf_nan=False, description="Largest budget.usd_per_day")
    ] = 50.0
    networks: Annotated[
        tuple[NetworkMode, ...], Field(description="network.mode that an agent may have")
    ] = ("none", "private")
    tools: Annotated[tuple[str, ...], Field(description="tools.builtin that an agent may have")] = (
        "Bash",
        "Read",
        "Edit",
        "Write",
        "Glob",
        "Grep",
        "NotebookEdit",
        "TodoWrite",
    )
    expire_days: Annotated[
        int, Field(ge=1, le=3650, description="Open proposals end after this")
    ] = 30
    freeze: Annotated[
        bool, Field(description="No merges while true, except of proposals that lift it")
    ] = False
    signers: Annotated[
        tuple[Annotated[str, Field(pattern=SIGNER, max_length=1000)], ...],
        Field(description="SSH keys of people who may sign approvals: `NAME TYPE KEY`"),
    ] = ()
    auto_revert: Annotated[
        bool,
        Field(description="A merge whose agent does not come up is answered with a revert"),
    ] = False


class SwarmLimits(Part):
    required: Annotated[
        bool, Field(description="Refuse to start an agent whose limits cannot be enforced")
    ] = False


class Template(Part):
    """What `spawn` fills in: keys of agent.toml, and the text of prompt.md."""

    agent: dict[str, Any] = {}
    prompt_text: Annotated[str, Field(max_length=65536)] = ""


class HiveToml(Part):
    """`defaults` are keys of agent.toml but role and uid; they are checked as such."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    policy: Policy = Policy()
    limits: SwarmLimits = SwarmLimits()
    defaults: dict[str, Any] = {}
    templates: dict[str, Template] = {}


DEFAULTABLE = frozenset(AgentSpec.model_fields) - {"role", "uid"}
