"""Entries of a pack to objects: deltas are applied, on each other and on what hive.git has.

Plain Python on bytes, within limits of steps and bytes: an untrusted requester made them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .errors import Refused
from .objects import Raw, attested_id
from .pack import Packed

MAX_STEPS = 50_000  # of all deltas of one pack: a tenth of a second
_LARGE = 1000  # bytes: what is smaller takes less room as a copy
_SHORTEST = 4  # bytes: git takes no shorter one
_DIGITS = 9  # of seven bits; larger numbers than that are no size
_TOO_MUCH = "it brings too much once its deltas are applied"
_CUT = "it has a delta that is cut off"

Known = Callable[[str], Raw | None]  # an object of hive.git; None: it is not there


class Resolver:
    """`room`: bytes that all objects may have together. Each is made once, and hashed once."""

    def __init__(self, known: Known, room: int) -> None:
        self._known = known
        self._room = room
        self._steps = MAX_STEPS
        self._waiting: dict[str | int, list[Packed]] = {}  # deltas, by their base
        self._found: dict[str, Raw] = {}

    def resolve(self, entries: Iterable[Packed]) -> dict[str, Raw]:
        """All objects, by OID. Raises Refused, also where a base is nowhere."""
        whole = []
        for entry in entries:
            if entry.base is None:
                whole.append(entry)
            else:
                self._waiting.setdefault(entry.base, []).append(entry)
        for entry in whole:
            self._spend(len(entry.data))
            self._take(entry.start, (entry.kind, entry.data))
        for base in [base for base in self._waiting if isinstance(base, str)]:
            if base in self._waiting and (raw := self._known(base)) is not None:
                for entry in self._waiting.pop(base):
                    self._take(entry.start, self._patched(raw, entry))
        if self._waiting:
            raise Refused("it has a delta whose base neither came nor is in applied")
        return self._found

    def _take(self, start: int, raw: Raw) -> None:
        """An object, and all that waits for it: a chain may be as long as the pack."""
        todo = [(start, raw)]
        while todo:
            start, raw = todo.pop()
            oid = attested_id(*raw)
            if oid in self._found:
                raise Refused(f"it brings {oid[:12]} twice, as git never does")
            self._found[oid] = raw
            for base in (start, oid):
                deltas = self._waiting.pop(base, ())
                todo += [(entry.start, self._patched(raw, entry)) for entry in deltas]

    def _patched(self, raw: Raw, entry: Packed) -> Raw:
        kind, base = raw
        data, steps = patched(base, entry.data, self._room, self._steps)
        self._steps -= steps
        self._spend(len(data))
        return kind, data

    def _spend(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise Refused(_TOO_MUCH)


def patched(base: bytes, delta: bytes, room: int, most_steps: int) -> tuple[bytes, int]:
    """What a delta makes of its base, and the steps that took. Raises Refused."""
    if len(delta) < _SHORTEST:
        raise Refused(_CUT)
    before, position = _size(delta, 0)
    after, position = _size(delta, position)
    if before != len(base):
        raise Refused("it has a delta of another base than it names")
    if after > room:
        raise Refused(_TOO_MUCH)
    parts, left = list[bytes | memoryview](), after
    while position < len(delta) and left >= 0:
        if len(parts) == most_steps:
            raise Refused(f"its deltas have more than {MAX_STEPS} steps")
        step, position = delta[position], position + 1
        if step & 0x80:
            offset, size, position = _copied(delta, step, position)
            source: bytes | memoryview = base if size < _LARGE else memoryview(base)
            part = source[offset : offset + size]
        else:
            size = step
            part = delta[position : position + size]
            position += size
        if not size or len(part) != size:
            raise Refused("it has a delta with a step that git does not know")
        parts.append(part)
        left -= size
    if left:
        raise Refused("it has a delta that makes another size than it says")
    return b"".join(parts), len(parts)


def _copied(delta: bytes, step: int, position: int) -> tuple[int, int, int]:
    """Where a step copies from, how much, and where the next step is. Its bits name the bytes of
    both numbers that are there: four of the offset, three of the size."""
    value = 0
    for bit in range(7):
        if step >> bit & 1:
            if position == len(delta):
                raise Refused(_CUT)
            value |= delta[position] << 8 * bit
            position += 1
    return value & 0xFFFFFFFF, value >> 32 or 0x10000, position


def _size(delta: bytes, position: int) -> tuple[int, int]:
    size = 0
    for digit, byte in enumerate(delta[position : position + _DIGITS]):
        size |= (byte & 0x7F) << 7 * digit
        if byte < 0x80:
            return size, position + digit + 1
    raise Refused(_CUT)
