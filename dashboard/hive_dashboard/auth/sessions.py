"""Sessions, one-time links, throttle: the rules, without I/O. Times are unix seconds."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace

IDLE = 12 * 3600.0
ABSOLUTE = 7 * 86400.0
LINK_TTL = 120.0
FREE_FAILURES = 5
LONGEST_DELAY = 60.0
USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,31}")


def new_secret() -> str:
    """256 bits for a cookie or a link."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """What is stored instead of the secret."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


@dataclass(frozen=True)
class Browser:
    """What it calls itself, and the user (uid) of this machine whose it is, or who brings what it
    says here (ssh, a proxy); None: it is on another machine."""

    says: str
    uid: int | None


@dataclass(frozen=True)
class Session:
    """`id` is the digest of the cookie, `uid` that of its browser. `view_only` may look and not
    act."""

    id: str
    user: str
    view_only: bool
    created: float
    seen: float
    agent: str  # the browser, as it says
    uid: int | None

    @property
    def label(self) -> str:
        """Names the session in pages and forms; useless as a cookie."""
        return self.id[:16]

    def ends(self) -> float:
        return min(self.seen + IDLE, self.created + ABSOLUTE)


@dataclass(frozen=True)
class OneTime:
    user: str
    view_only: bool
    until: float


class Links:
    """One-time logins in memory: a restart voids them."""

    def __init__(self) -> None:
        self._links: dict[str, OneTime] = {}

    def issue(self, user: str, view_only: bool, now: float) -> str:
        """The secret of a new link."""
        self._links = {key: link for key, link in self._links.items() if link.until > now}
        secret = new_secret()
        self._links[digest(secret)] = OneTime(user, view_only, now + LINK_TTL)
        return secret

    def drop(self, user: str) -> None:
        """Void the links of `user`."""
        self._links = {key: link for key, link in self._links.items() if link.user != user}

    def redeem(self, secret: str, now: float) -> OneTime | None:
        """Whose link it is; it is gone afterwards."""
        link = self._links.pop(digest(secret), None)
        return link if link is not None and link.until > now else None


class Throttle:
    """After FREE_FAILURES each further failure doubles the wait of all whose code is wrong."""

    def __init__(self) -> None:
        self.failures = 0
        self._until = 0.0

    def wait(self, now: float) -> float:
        """Seconds until the next attempt is looked at; 0 is now."""
        return max(0.0, self._until - now)

    def failed(self, now: float) -> None:
        self.failures += 1
        over = self.failures - FREE_FAILURES
        if over >= 0:
            self._until = now + min(LONGEST_DELAY, 2.0 ** min(over, 10))

    def passed(self) -> None:
        self.failures, self._until = 0, 0.0


class Sessions:
    """All live sessions in memory; the store keeps the same rows on disk."""

    def __init__(self, rows: Iterable[Session] = ()) -> None:
        self._rows = {row.id: row for row in rows}

    def open(self, user: str, view_only: bool, browser: Browser, now: float) -> tuple[str, Session]:
        """A new session and its cookie."""
        secret = new_secret()
        self._rows = {key: old for key, old in self._rows.items() if old.ends() > now}
        says = browser.says[:200]
        row = Session(digest(secret), user, view_only, now, now, says, browser.uid)
        self._rows[row.id] = row
        return secret, row

    def find(self, secret: str | None, now: float) -> Session | None:
        row = self._rows.get(digest(secret)) if secret else None
        return row if row is not None and row.ends() > now else None

    def touch(self, row: Session, now: float) -> Session:
        row = replace(row, seen=now)
        self._rows[row.id] = row
        return row

    def drop(self, ident: str) -> Session | None:
        return self._rows.pop(ident, None)

    def by_label(self, label: str) -> Session | None:
        return next((row for row in self._rows.values() if row.label == label), None)

    def live(self, now: float) -> list[Session]:
        """Newest use first."""
        rows = [row for row in self._rows.values() if row.ends() > now]
        return sorted(rows, key=lambda row: -row.seen)
