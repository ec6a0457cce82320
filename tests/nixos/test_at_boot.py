"""pkgs/hyperhive.service on a host of its own, which is a Debian: deaths, stops and a reboot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.nixos_host import prepare


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("watches")
def test_systemd_keeps_it_up_and_stops_it_whole(host_image: Path, tmp_path: Path) -> None:
    host = prepare(host_image, tmp_path, "boot.service")
    said = host.run(boots=2, seconds=270)
    result = host.out / "result"
    assert result.exists() and result.read_text() == "ok", said[-12000:]
    print(json.dumps(json.loads((host.out / "report.json").read_text()), indent=2))
