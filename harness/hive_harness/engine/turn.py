"""One turn as the engine is given it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Ending = Literal["cancelled", "stopped", "dropped"]


@dataclass(frozen=True)
class Turn:
    """What is to be played. `user_uuid` keeps the engine from playing it twice."""

    id: str
    prompt: str
    user_uuid: str

    @property
    def message(self) -> str:
        return self.id.partition(".")[0]

    @property
    def is_first(self) -> bool:
        """Whether its message was not tried before."""
        return self.id.endswith(".1")
