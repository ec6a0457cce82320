"""Several objects made durable at once. git and libgit2 wait for the disk after each, one by one;
a proposal has half a dozen, and the disk takes them all in the time of one."""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_threads = ThreadPoolExecutor(8, "loose")  # they start at the first need, and stay
_LARGE = 32 << 10  # bytes; large trees are mostly hashes, which compress to little less


def write_objects(folder: Path, objects: Sequence[tuple[str, bytes]]) -> None:
    """Put (OID, header and content) into an objects directory, as loose objects, in this order:
    none is there before those in front of it. On return all are on disk. Raises OSError."""
    fresh: list[tuple[int, str, Path]] = []
    try:
        for oid, data in objects:
            place = folder / oid[:2] / oid[2:]
            place.parent.mkdir(exist_ok=True)
            descriptor, path = tempfile.mkstemp(dir=place.parent, prefix="tmp_obj_")
            fresh.append((descriptor, path, place))
            os.fchmod(descriptor, 0o444)
            with open(descriptor, "wb", closefd=False) as file:
                file.write(zlib.compress(data, 0 if len(data) > _LARGE else 1))
        _each(os.fsync, [descriptor for descriptor, _, _ in fresh])
        for _, path, place in fresh:
            os.rename(path, place)
        _each(_sync, {folder, *(place.parent for _, _, place in fresh)})
    finally:
        for descriptor, path, _ in fresh:
            os.close(descriptor)
            Path(path).unlink(missing_ok=True)


def _each(action: Callable[[T], None], items: Iterable[T]) -> None:
    """All at once; on return none runs any more. Raises what one of them raises."""
    running = [_threads.submit(action, item) for item in items]
    wait(running)
    for one in running:
        one.result()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
