"""What operations note on disk from many threads at once."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from hive_reconciler.core.journal import Journal, Open

THREADS, EACH = 8, 60


def test_operations_begin_and_end_at_once_and_what_is_open_stays(tmp_path: Path) -> None:
    journal, failures = Journal(tmp_path / "journal.json"), list[BaseException]()
    for number in range(200):  # enough that a thread is interrupted while it writes them down
        journal.begin(Open(f"old{number}", "old", "stop", "r", 1.0))

    def work(who: int) -> None:
        try:
            for number in range(EACH):
                journal.begin(Open(f"u{who}-{number}", "a", "stop", "r", 2.0))
                journal.end(f"u{who}-{number}")
        except BaseException as error:  # noqa: BLE001 - told by who waits for the threads
            failures.append(error)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(THREADS)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert failures == []
    left = Journal(tmp_path / "journal.json").take()
    assert {one.uid for one in left} == {f"old{number}" for number in range(200)}
