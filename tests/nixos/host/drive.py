"""What the drivers of a test host share: commands, timings, and how a boot of it ends."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

OUT = Path("/out")
REPORT = OUT / "report.json"

report: dict[str, Any] = {}


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    begin = time.monotonic()
    yield
    report[what] = round(time.monotonic() - begin, 2)
    print(f"{what}: {report[what]} s", flush=True)


def sh(*argv: str, cwd: Path | None = None) -> str:
    done = subprocess.run(argv, cwd=cwd, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{argv}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def two_boots(before: Callable[[], None], after: Callable[[], None]) -> None:
    """Run `before`, reboot, run `after`, power off; `ok` in /out/result when both went well."""
    again = REPORT.exists()
    if again:
        report.update(json.loads(REPORT.read_text()))
    try:
        (after if again else before)()
    except BaseException:  # noqa: BLE001 - whatever it is, the host must go down
        traceback.print_exc()
        (OUT / "result").write_text("failed")
        sh("systemctl", "poweroff")
        return
    REPORT.write_text(json.dumps(report, indent=2))
    if again:
        (OUT / "result").write_text("ok")
    sh("systemctl", "poweroff" if again else "reboot")
