"""One action of a person: who wishes what, and the processes that it asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hive_wire.rpc_errors import (
    BUSY,
    CONFLICT,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    NOT_FOUND,
    REFUSED,
    UNAVAILABLE,
    RpcError,
)

from ..live.backends import Backend
from ..live.mirror import Mirror
from ..text import one_line

_STATUS = {
    CONFLICT: 409,
    NOT_FOUND: 404,
    REFUSED: 403,
    BUSY: 503,
    UNAVAILABLE: 503,
    INVALID_PARAMS: 422,
    INTERNAL_ERROR: 502,
}


class Failed(Exception):
    """An action that did not work: HTTP status, words, and for a moved effect what changed."""

    def __init__(self, status: int, message: str, changed: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.changed = changed


@dataclass(frozen=True)
class Desk:
    """Where actions find the other processes."""

    host: Backend
    broker: Backend
    mirror: Mirror


@dataclass(frozen=True)
class Job:
    """One action: the wish, who wishes it, and the parts of the address."""

    desk: Desk
    wish: Any
    user: str
    path: dict[str, str]

    @property
    def n(self) -> int:
        return int(self.path["n"])

    @property
    def name(self) -> str:
        return self.path["name"]

    def uid(self) -> str:
        """Of the agent in the address. Raises Failed."""
        status = self.desk.mirror.snapshot.agents.get(self.name)
        if status is None:
            raise Failed(404, f"The broker knows no agent {self.name!r}.")
        return status.uid

    async def tell(
        self, backend: Backend, method: str, *, within: float = 20.0, **params: Any
    ) -> dict[str, Any]:
        """`within` is in seconds. Raises Failed."""
        given = {k: v for k, v in params.items() if v is not None or k == "uid"}
        try:
            answer = await backend.ask(method, timeout=within, **given)
        except RpcError as error:
            raise _failed(backend, error) from None
        except TimeoutError:
            raise Failed(
                504,
                f"The {backend.title} did not answer within {within:.0f} s. It may still be "
                "done: look before you try again.",
            ) from None
        return answer if isinstance(answer, dict) else {}

    async def to_host(self, method: str, **params: Any) -> dict[str, Any]:
        return await self.tell(self.desk.host, method, on_behalf=self.user, **params)

    async def to_broker(self, method: str, **params: Any) -> dict[str, Any]:
        return await self.tell(self.desk.broker, method, **params)


def _failed(backend: Backend, error: RpcError) -> Failed:
    if error.code == UNAVAILABLE and not backend.is_up:
        return Failed(
            503,
            f"The {backend.title} is away, so nothing was done. Your text is kept: "
            "try again when it is back.",
        )
    return Failed(_STATUS.get(error.code, 502), error.message, _changed(error.data))


def _changed(data: Any) -> tuple[str, ...]:
    """What moved, in words, from the data of a conflict."""
    found = data.get("changed") if isinstance(data, dict) else None
    if isinstance(found, str):
        return (found,)
    if isinstance(found, dict):
        return tuple(f"{key}: {one_line(str(value), 300)}" for key, value in found.items())
    lines = []
    for item in found if isinstance(found, list) else []:
        if isinstance(item, dict):
            where = ".".join(filter(None, [item.get("agent"), item.get("field")]))
            lines.append(one_line(f"{where} {item.get('text') or item}", 300))
        else:
            lines.append(one_line(str(item), 300))
    return tuple(lines)
