"""What stops delivery to one agent: hold, fence, pause. Pure; times are steady seconds."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_HOLD = 60.0
AWAY_IS_IDLE = 60.0  # a harness away this long runs no turn that a fence must wait for


class Refused(Exception):
    """The gate is in a state that does not allow it; the words are for a person."""


@dataclass(frozen=True, slots=True)
class Hold:
    token: str
    until: float


class Gate:
    """A hold is owned and expires; a fence does not; a pause is an operator's."""

    def __init__(self, *, fenced: bool = False) -> None:
        self._hold: Hold | None = None
        self.fenced = fenced

    def held(self, now: float) -> bool:
        return self._hold is not None and self._hold.until > now

    def held_until(self) -> float | None:
        return None if self._hold is None else self._hold.until

    def hold(self, token: str, ttl: float, now: float) -> None:
        """Take or renew the hold. Raises Refused while another owner's is live."""
        if self._hold is not None and self._hold.token != token and self._hold.until > now:
            left = self._hold.until - now
            raise Refused(f"another owner holds this agent for {left:.0f} s more")
        self._hold = Hold(token, now + min(ttl, LONGEST_HOLD))

    def release(self, token: str) -> None:
        """Give the hold back; a token that does not own it changes nothing."""
        if self._hold is not None and self._hold.token == token:
            self._hold = None

    def check_fence(self, token: str, now: float, *, busy: bool) -> None:
        """Raises Refused unless `token` owns a live hold and no turn runs."""
        if self._hold is None or self._hold.token != token or self._hold.until <= now:
            raise Refused("the hold is not live: take it again, then fence")
        if busy:
            raise Refused("a turn runs, or may run: wait for its end, then fence")

    def new_boot(self) -> None:
        """A new harness is there: whoever wanted the old one stopped has got that."""
        self._hold = None
        self.fenced = False
