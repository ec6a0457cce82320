"""README's story under services.hive-c0re: its units, users and directories, and its containers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.nixos_host import prepare


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("watches")
def test_the_story_on_a_host_of_its_own(host_image: Path, tmp_path: Path) -> None:
    host = prepare(host_image, tmp_path, "story.service")
    said = host.run(boots=2, seconds=400)
    result = host.out / "result"
    assert result.exists() and result.read_text() == "ok", said[-12000:]
    print(json.dumps(json.loads((host.out / "report.json").read_text()), indent=2))
