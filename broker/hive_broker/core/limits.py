"""How much one agent may send, and how much may wait for one. Pure; steady seconds."""

from __future__ import annotations

import math

MOST_WAITING = 10_000  # open deliveries of one agent
FOR_PEOPLE = 1_000  # more, that only the operator may use: no agent can keep a person out
MESSAGES, MESSAGES_PER_SECOND = 1000.0, 20.0
BYTES, BYTES_PER_SECOND = float(32 << 20), float(4 << 10)  # they are kept for a month
ROW, DELIVERY = 400, 100  # bytes that a message, and each recipient of it, takes beside the body
WORDS, WORDS_PER_SECOND = 50_000.0, 300.0
TOLD, TOLD_PER_SECOND = 200.0, 1.0  # changes of an agent's state that the history has
LONGEST_REST = 60.0  # seconds
HELLO = 100  # words that a hello counts as: it waits for the disk


class TooMuch(Exception):
    """Not now; the words tell the sender what to do."""


class Bucket:
    """Holds `most`, fills at `rate` a second."""

    def __init__(self, most: float, rate: float, now: float) -> None:
        self._most, self._rate = most, rate
        self._level, self._at = most, now

    def missing(self, amount: float, now: float) -> float:
        """Seconds until `amount` is there; 0 when it is."""
        self._level = min(self._most, self._level + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, amount - self._level) / self._rate

    def take(self, amount: float, deepest: float = -math.inf) -> None:
        """What is not there is owed, down to `deepest`."""
        self._level = max(self._level - amount, min(self._level, deepest))


class Allowance:
    """What one agent may still send."""

    def __init__(self, now: float) -> None:
        self._messages = Bucket(MESSAGES, MESSAGES_PER_SECOND, now)
        self._bytes = Bucket(BYTES, BYTES_PER_SECOND, now)

    def spend(self, size: int, now: float, recipients: int = 1) -> None:
        """One message of `size` bytes. Raises TooMuch; then nothing is spent."""
        size += ROW + recipients * DELIVERY
        wait = max(self._messages.missing(1, now), self._bytes.missing(size, now))
        if wait > 0:
            raise TooMuch(
                f"you send too much: wait {max(1, round(wait))} s; put several things into one "
                "message, or what is long into a file and say where"
            )
        self._messages.take(1)
        self._bytes.take(size)


class Pace:
    """How fast one agent may speak on its sockets, all connections together. What is said
    costs the broker time, and much of it is written down."""

    def __init__(self, now: float) -> None:
        self._words = Bucket(WORDS, WORDS_PER_SECOND, now)

    def spend(self, words: int, now: float) -> float:
        """For how many seconds nothing more is to be read, after so many frames and rows."""
        self._words.take(words, -LONGEST_REST * WORDS_PER_SECOND)
        return self._words.missing(0, now)


def check_room(name: str, waiting: int, most: int = MOST_WAITING) -> None:
    """Raises TooMuch when `waiting` messages are all that may wait for agent `name`."""
    if waiting >= most:
        raise TooMuch(
            f"{waiting} messages wait for {name} already, and that is the most: nothing was "
            "sent; wait until some are read, or tell the operator that it does not keep up"
        )
