"""Handlers of a socket: parameters checked by models, our errors turned into answers."""

from __future__ import annotations

import os
import pwd
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hive_wire.jsonrpc import Handler, Params, Peer
from hive_wire.rpc_errors import (
    BUSY,
    CONFLICT,
    INVALID_PARAMS,
    NOT_FOUND,
    REFUSED,
    UNAVAILABLE,
    RpcError,
)

from ..git.errors import Busy, Conflict, DiskFailed, HiveError, NotFound, ReadFailed
from ..runtime.base import RuntimeFailure


class Request(BaseModel):
    """Base of the parameters of a method."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Request):
    pass


class Acting(Request):
    """A request in somebody's name; `on_behalf` is believed only from the dashboard."""

    on_behalf: Annotated[str | None, Field(min_length=1, max_length=64)] = None


Name = Annotated[str, Field(max_length=64)]


M = TypeVar("M", bound=Request)
Check = Callable[[Peer], None]


class On(Protocol):
    """Makes a handler out of a method with checked parameters."""

    def __call__(self, model: type[M], call: Callable[[Peer, M], Awaitable[Any]]) -> Handler: ...


def handler(model: type[M], call: Callable[[Peer, M], Awaitable[Any]], check: Check) -> Handler:
    """`call` with checked parameters, for callers that `check` does not refuse."""

    async def handle(peer: Peer, params: Params) -> Any:
        check(peer)
        try:
            parsed = model.model_validate(params)
        except ValidationError as error:
            raise RpcError(INVALID_PARAMS, _words(error)) from None
        try:
            return await call(peer, parsed)
        except Conflict as error:
            raise RpcError(CONFLICT, error.message, error.data) from error
        except HiveError as error:
            raise RpcError(_code(error), error.message) from error
        except RuntimeFailure as error:
            raise RpcError(UNAVAILABLE, f"{error.reason}: {error.message}") from error

    return handle


def user_name(uid: int) -> str:
    """The name of a user of this machine, or its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"


def uid_of(user: str, layout_is_system: bool) -> int:
    """The uid that the process of `user` runs as: its own for the system service, else ours."""
    if not layout_is_system:
        return os.geteuid()
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return os.geteuid()


def _code(error: HiveError) -> int:
    if isinstance(error, NotFound):
        return NOT_FOUND
    if isinstance(error, Busy):
        return BUSY
    return UNAVAILABLE if isinstance(error, ReadFailed | DiskFailed) else REFUSED


def _words(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'params'}: {e['msg']}" for e in first)
