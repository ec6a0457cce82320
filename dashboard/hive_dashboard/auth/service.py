"""Who is logged in and who may: rules and store joined."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from .sessions import FREE_FAILURES, Browser, Links, OneTime, Session, Sessions, Throttle
from .store import Store
from .users import User, Users

log = logging.getLogger(__name__)
TOUCH_EVERY = 60.0  # seconds between writes of "last seen"


class TooManyFailures(Exception):
    """`wait` is in seconds."""

    def __init__(self, wait: float) -> None:
        super().__init__(
            f"this code opens nothing, and too many failed: wait {wait:.0f} s, run hive login again"
        )
        self.wait = wait


class UnknownUser(Exception):
    """A trusted proxy names somebody who was not added here."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name[:60]!r} is no user here: the operator adds users with hive users add"
        )


class Auth:
    def __init__(
        self, store: Store, on_end: Callable[[str], None], on_failures: Callable[[int], None]
    ) -> None:
        """`on_end(session id)` closes whatever a session still has open. `on_failures` hears how
        many logins failed in a row once they are many, and 0 when one succeeds."""
        self._store = store
        self._on_end = on_end
        self._on_failures = on_failures
        self._sessions = Sessions()
        self._users = Users()
        self._links = Links()
        self._throttle = Throttle()
        self._astray: set[str] = set()  # sessions whose cookie somebody else had

    async def start(self) -> None:
        """Raises StoreError."""
        sessions, users = await self._store.open(time.time())
        self._sessions, self._users = Sessions(sessions), Users(users)

    async def stop(self) -> None:
        await self._store.close()

    async def login(self, code: str, browser: Browser) -> tuple[str, Session] | None:
        """A new session for the code of a link; None for a wrong one.

        Raises TooManyFailures: only for a wrong one, or whoever tries could keep all others out.
        """
        now = time.time()
        link: OneTime | None = self._links.redeem(code, now)
        if link is None:
            if wait := self._throttle.wait(now):
                raise TooManyFailures(wait)
            self._throttle.failed(now)
            if self._throttle.failures >= FREE_FAILURES:
                self._on_failures(self._throttle.failures)
            return None
        self._throttle.passed()
        self._on_failures(0)
        secret, row = self._sessions.open(link.user, link.view_only, browser, now)
        await self._store.put(row)
        return secret, row

    async def session(self, cookie: str | None, uid: int | None) -> Session | None:
        """The live session of a cookie. `uid` is that of its browser: what brings the cookie from
        elsewhere has none."""
        now = time.time()
        row = self._sessions.find(cookie, now)
        if row is not None and row.uid != uid:
            if row.id not in self._astray:
                self._astray.add(row.id)
                log.warning(
                    "the cookie of a session of %s came from %s, not from %s: not let in",
                    *(row.user, _place(uid), _place(row.uid)),
                )
            return None
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

    # -- users, for dashboard.sock ---------------------------------------------

    async def issue(self, name: str, view_only: bool) -> str:
        """The secret of a one-time link; who is new is added. Raises ValueError."""
        user = self._users.find(name)
        if user is None:
            user = await self.add_user(name, view_only)
        return self._links.issue(name, view_only or user.view_only, time.time())

    async def add_user(self, name: str, view_only: bool) -> User:
        """A new user, or another role; sessions that may do more than that end. Raises ValueError."""
        row = self._users.put(name, view_only, time.time())
        await self._store.put_user(row)
        if view_only:
            self._links.drop(name)
            for session in self.live():
                if session.user == name and not session.view_only:
                    await self.end(session.label)
        return row

    async def remove_user(self, name: str) -> int | None:
        """How many sessions ended with the user; None when there is no such user."""
        if not self._users.drop(name):
            return None
        await self._store.drop_user(name)
        self._links.drop(name)
        mine = [row for row in self.live() if row.user == name]
        for row in mine:
            await self.end(row.label)
        return len(mine)

    def users(self) -> list[dict[str, Any]]:
        live = [row.user for row in self.live()]
        return [{**asdict(user), "sessions": live.count(user.name)} for user in self._users.all()]

    async def trusted(self, name: str, cookie: str | None, browser: Browser) -> tuple[str, Session]:
        """The session of somebody whom a trusted proxy names: that of the cookie, else a new one
        with its cookie. Raises UnknownUser."""
        row = await self.session(cookie, browser.uid)
        if row is not None and row.user == name:
            return "", row
        user = self._users.find(name)
        if user is None:
            raise UnknownUser(name)
        secret, row = self._sessions.open(name, user.view_only, browser, time.time())
        await self._store.put(row)
        return secret, row


def _place(uid: int | None) -> str:
    return "another machine" if uid is None else f"user {uid} of this machine"
