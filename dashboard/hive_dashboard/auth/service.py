"""Who is logged in: rules, store and dashboard.sock joined."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from hive_wire.jsonrpc import INVALID_PARAMS, REFUSED, Handlers, Params, Peer, RpcError

from .sessions import Links, OneTime, Session, Sessions, Throttle
from .store import Store

TOUCH_EVERY = 60.0  # seconds between writes of "last seen"


class TooManyFailures(Exception):
    """`wait` is in seconds."""

    def __init__(self, wait: float) -> None:
        super().__init__(f"too many failed logins: wait {wait:.0f} s and try again")
        self.wait = wait


class _Issue(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    user: str
    view_only: bool = False


class Auth:
    def __init__(self, store: Store, on_end: Callable[[str], None]) -> None:
        """`on_end(session id)` closes whatever a session still has open."""
        self._store = store
        self._on_end = on_end
        self._sessions = Sessions()
        self._links = Links()
        self._throttle = Throttle()

    async def start(self) -> None:
        """Raises StoreError."""
        self._sessions = Sessions(await self._store.open(time.time()))

    async def stop(self) -> None:
        await self._store.close()

    async def login(self, code: str, browser: str) -> tuple[str, Session] | None:
        """A new session for the code of a link; None for a wrong one.

        Raises TooManyFailures.
        """
        now = time.time()
        if wait := self._throttle.wait(now):
            raise TooManyFailures(wait)
        link: OneTime | None = self._links.redeem(code, now)
        if link is None:
            self._throttle.failed(now)
            return None
        self._throttle.passed()
        secret, row = self._sessions.open(link.user, link.view_only, browser, now)
        await self._store.put(row)
        return secret, row

    async def session(self, cookie: str | None) -> Session | None:
        """The live session of a cookie."""
        now = time.time()
        row = self._sessions.find(cookie, now)
        if row is not None and now - row.seen > TOUCH_EVERY:
            row = self._sessions.touch(row, now)
            await self._store.put(row)
        return row

    def alive(self, ident: str) -> bool:
        return any(row.id == ident for row in self.live())

    def live(self) -> list[Session]:
        return self._sessions.live(time.time())

    async def end(self, label: str) -> bool:
        """Ends the session called `label`, with its streams. False when there is none."""
        row = self._sessions.by_label(label)
        if row is None:
            return False
        self._sessions.drop(row.id)
        await self._store.drop(row.id)
        self._on_end(row.id)
        return True

    def handlers(self, url: Callable[[], str]) -> Handlers:
        """Methods of dashboard.sock; `url()` is the address of the login page."""

        def issue(peer: Peer, params: Params) -> dict[str, Any]:
            if peer.caller.uid not in (0, os.geteuid()):
                raise RpcError(REFUSED, "only root and the dashboard's own user issue logins")
            try:
                wish = _Issue.model_validate(params)
                secret = self._links.issue(wish.user, wish.view_only, time.time())
            except ValidationError as error:
                raise RpcError(INVALID_PARAMS, f"login.issue: {error}") from None
            except ValueError as error:
                raise RpcError(REFUSED, str(error)) from None
            return {"url": f"{url()}#{secret}"}

        return {"login.issue": issue}
