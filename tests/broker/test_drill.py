"""A minute of kill -9 of anything; the ledger must be clean."""

from __future__ import annotations

import pytest
from support.broker_drill import Drill
from support.broker_rig import rig


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_nothing_is_lost_or_doubled_when_anything_dies(tmp_path):
    async with rig(tmp_path / "root") as hive:
        findings = await Drill(hive, tmp_path / "drill").run(seconds=60)
    print(findings)
    assert findings.clean, findings
    assert findings.acknowledged > 50
    assert min(findings.broker_kills, findings.harness_kills, findings.sender_kills) > 3
