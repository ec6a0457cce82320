"""A claude CLI on a slow machine: what it says of a resumed turn comes late."""

from __future__ import annotations

import json
import os
import queue
import shlex
import sys
import threading
import time
from pathlib import Path

_SCRIPT = """#!/bin/sh
case " $* " in
  *" --resume "*) {cli} "$@" | {python} {here} {seconds} ;;
  *) exec {cli} "$@" ;;
esac
"""


def slow_cli(path: Path, cli: Path, seconds: float) -> Path:
    """Writes to `path` a CLI that answers at once when it is resumed, and says the first thing
    of its turn `seconds` later."""
    script = _SCRIPT.format(
        cli=shlex.quote(str(cli)),
        python=shlex.quote(sys.executable),
        here=shlex.quote(__file__),
        seconds=seconds,
    )
    path.write_text(script)
    path.chmod(0o755)
    return path


def _hold_back(seconds: float) -> None:
    """From stdin to stdout; what is no part of the control protocol waits."""
    late: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def say(line: bytes) -> None:
        os.write(1, line)

    def say_late() -> None:
        line = late.get()
        time.sleep(seconds)
        while line is not None:
            say(line)
            line = late.get()

    speaker = threading.Thread(target=say_late)
    speaker.start()
    for line in sys.stdin.buffer:
        if json.loads(line)["type"].startswith("control_"):
            say(line)
        else:
            late.put(line)
    late.put(None)
    speaker.join()


if __name__ == "__main__":
    _hold_back(float(sys.argv[1]))
