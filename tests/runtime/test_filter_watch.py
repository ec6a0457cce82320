"""A filter that somebody else takes away is missed at once."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.needs import need

from hive_reconciler.runtime.filter_watch import Losses

# In a network of its own: what it hears of each change, told by the next change of ours.
CHANGES = """
import asyncio, json, subprocess
from hive_reconciler.runtime.filter_watch import FilterWatch
from hive_reconciler.runtime.network_rules import POOL, Wire, ruleset
losses = []
def load(rules): subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
async def heard():
    other = asyncio.Event()
    watch = FilterWatch("seen", other.set)
    load("table inet seen {}")
    load("delete table inet seen")
    await other.wait()
    watch.close()
    return len(losses)
async def main():
    loop = asyncio.get_running_loop()
    watch = FilterWatch("hive_t", lambda: losses.append(1))
    ours = ruleset("-t", [Wire("hvx", POOL[0])], ["192.0.2.1"], [])
    found = []
    for rules in (ours, ours, "table inet other {}", "delete table inet other", ours):
        load(rules)
        found.append(await heard())
    for rules in ("flush ruleset", ours, "delete table inet hive_t", ours):
        load(rules)
        found.append(await heard())
    watch.close()
    print(json.dumps(found))
asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.root
def test_a_flush_is_heard_and_a_replacement_is_none() -> None:
    need("nft")
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", CHANGES],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [0, 0, 0, 0, 0, 1, 1, 2, 2]


@given(st.binary(max_size=200))
def test_no_bytes_break_it(data: bytes) -> None:
    Losses("hive_t").heard(data)
