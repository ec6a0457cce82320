"""The nixos runtime on a host of its own: Debian with systemd as PID 1, machined and nix."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from support.nixos_host import prepare

RECORDED = Path(__file__).parent / "recorded"


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("watches")
def test_the_whole_life_on_a_host_of_its_own(host_image: Path, tmp_path: Path) -> None:
    host = prepare(host_image, tmp_path, "lifecycle.service")
    said = host.run(boots=2, seconds=270)
    result = host.out / "result"
    assert result.exists() and result.read_text() == "ok", said
    if "HIVE_UPDATE_GOLDEN" in os.environ:
        for name in ("systemctl-show.txt", "machinectl-list.json"):
            shutil.copyfile(host.out / name, RECORDED / name)
    print(json.dumps(json.loads((host.out / "report.json").read_text()), indent=2))
