"""dashboard.sock: login links and users, for the `hive` command."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from hive_wire.jsonrpc import Caller, Handlers, Params, Peer
from hive_wire.rpc_errors import INVALID_PARAMS, NOT_FOUND, REFUSED, RpcError

from .service import Auth

OPERATORS = "hive"  # the group whose members may log in under the system service
M = TypeVar("M", bound=BaseModel)


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Issue(_Request):
    user: str
    view_only: bool = False


class _Add(_Request):
    name: str
    view_only: bool = False


class _Name(_Request):
    name: str


class _Nothing(_Request):
    pass


def handlers(auth: Auth, url: Callable[[], str], *, system: bool) -> Handlers:
    """`url()` is the address of the login page; `system`: the system service, whose socket the
    group of operators may open."""

    async def issue(peer: Peer, wish: _Issue) -> dict[str, Any]:
        own = _own_name(peer.caller)
        if not _is_master(peer.caller) and not (system and own == wish.user):
            raise RpcError(
                REFUSED, f"only root issues logins for others; you may log in as {own or 'nobody'}"
            )
        return {"url": f"{url()}#{await auth.issue(wish.user, wish.view_only)}"}

    async def add(peer: Peer, wish: _Add) -> dict[str, Any]:
        _only_master(peer)
        await auth.add_user(wish.name, wish.view_only)
        return {}

    async def remove(peer: Peer, wish: _Name) -> dict[str, Any]:
        _only_master(peer)
        ended = await auth.remove_user(wish.name)
        if ended is None:
            raise RpcError(NOT_FOUND, f"there is no user {wish.name[:60]!r}; see: hive users")
        return {"ended": ended}

    async def list_(_peer: Peer, _wish: _Nothing) -> dict[str, Any]:
        return {"users": auth.users()}

    return {
        "login.issue": _checked(_Issue, issue),
        "users.add": _checked(_Add, add),
        "users.remove": _checked(_Name, remove),
        "users.list": _checked(_Nothing, list_),
    }


def _checked(model: type[M], work: Callable[[Peer, M], Awaitable[dict[str, Any]]]) -> Any:
    async def handle(peer: Peer, params: Params) -> dict[str, Any]:
        try:
            return await work(peer, model.model_validate(params))
        except ValidationError as error:
            raise RpcError(INVALID_PARAMS, str(error)) from None
        except ValueError as error:
            raise RpcError(REFUSED, str(error)) from None

    return handle


def _only_master(peer: Peer) -> None:
    if not _is_master(peer.caller):
        raise RpcError(REFUSED, "only root and the dashboard's own user manage users")


def _is_master(caller: Caller) -> bool:
    return caller.uid in (0, os.geteuid())


def _own_name(caller: Caller) -> str | None:
    try:
        return pwd.getpwuid(caller.uid).pw_name
    except KeyError:
        return None


def give_to_operators(path: str | os.PathLike[str]) -> bool:
    """Let the group of operators open the socket. False where there is no such group."""
    try:
        os.chown(path, -1, grp.getgrnam(OPERATORS).gr_gid)
    except (KeyError, PermissionError):
        return False
    os.chmod(path, 0o660)
    return True
