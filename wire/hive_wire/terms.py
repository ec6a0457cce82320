"""What agent.toml and the sockets both speak of; a broker has no need of the rest of agent.toml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Role = Literal["agent", "manager"]
State = Literal["running", "stopped"]
EngineName = Literal["claude", "rehearsal"]
NetworkMode = Literal["none", "private", "host"]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Budget(Part):
    usd_per_day: Annotated[
        float, Field(ge=0, le=100_000, description="USD a day; 0 stops turns")
    ] = 5.0
    turns_per_hour: Annotated[
        int, Field(ge=0, le=10_000, description="Turns an hour; 0 stops turns")
    ] = 60
