"""A watch that was stopped stays stopped, whatever is still on its way in a thread."""

import asyncio
import threading

from hive_reconciler.git.watch import Watch


async def test_a_start_that_comes_after_the_stop_watches_nothing(tmp_path):
    (tmp_path / "refs").mkdir()
    before = set(threading.enumerate())
    watch = Watch((tmp_path,), lambda: None)
    await asyncio.to_thread(watch.start)
    assert set(threading.enumerate()) - before
    await asyncio.to_thread(watch.stop)
    await asyncio.to_thread(watch.start)
    names = {t.name for t in set(threading.enumerate()) - before}
    assert not [n for n in names if not n.startswith("asyncio")]
