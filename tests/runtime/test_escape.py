"""What an agent may try from inside its container, and what of the host it may see: nothing."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import platform
import secrets
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.containers import AS_ROOT, GO, UID, WAITS, Site, until

from hive_reconciler.runtime.base import Bind, Phase, RuntimeFailure

PROBE = Path(__file__).with_name("escape_probe.py")
OTHER = "zyxwvutsrqpo"


@pytest.fixture
def host() -> Iterator[dict[str, Any]]:
    """What is outside and must stay there: listeners, a key, a secret file."""
    name, key = f"hive-test-{secrets.token_hex(8)}", f"hive-test-{secrets.token_hex(8)}"
    with (
        socket.socket() as listener,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route,
    ):
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        abstract.bind("\0" + name)
        abstract.listen()
        try:
            route.connect(("192.0.2.77", 9))
            address = route.getsockname()[0]
        except OSError:
            address = "127.0.0.2"
        number = 217 if platform.machine() == "aarch64" else 248
        ctypes.CDLL(None).syscall(number, b"user", key.encode(), b"secret", 6, -3)
        disk = os.stat("/").st_dev
        yield {
            "port": listener.getsockname()[1],
            "address": address,
            "abstract": name,
            "key": key,
            "disk": [os.major(disk), os.minor(disk)],
            "host_pid": os.getpid(),
        }


async def _probe(site: Site, host: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    neighbour = site.layout.agent_run(OTHER)
    neighbour.mkdir(parents=True)
    (neighbour / "mcp.sock").touch()
    (site.layout.agent(OTHER) / "state").mkdir(parents=True)
    here = Path(__file__).resolve().parents[2]
    hidden = [
        *(str(path) for path in (secret, site.layout.root, site.layout.run, neighbour)),
        *(str(path) for path in (site.layout.agent(OTHER), here, Path.home() / ".bashrc")),
        *("/etc/shadow", "/var/lib/hyperhive", "/run/hyperhive", "/run/systemd", "/boot"),
        *("/run/hive/../mcp.sock", f"/run/hive/../{OTHER}", "/run/dbus", "/var/run/docker.sock"),
    ]
    container = await site.python(PROBE, json.dumps({**host, "hidden": hidden}))
    (site.layout.agent_run(UID) / "harness.sock").touch()
    await site.runtime.start(container)
    result = site.state() / "result.json"
    await until(result.exists, 30)
    found: dict[str, Any] = json.loads(result.read_text())
    return found


async def test_nothing_that_an_agent_tries_works(
    site: Site, host: dict[str, Any], tmp_path: Path
) -> None:
    found = await _probe(site, host, tmp_path)
    assert [name for name, said in found["tried"].items() if said == "DONE"] == []
    assert len(found["tried"]) > 50
    assert not os.path.lexists("/usr/escaped")
    facts = found["facts"]
    assert facts["interfaces"] == ["lo"]
    assert facts["processes"][0] == 1
    assert len(facts["processes"]) <= 2
    assert set(facts["descriptors"]) <= {"0", "1", "2", "3"}  # 3: the listing itself
    assert facts["home"] == [".claude"]
    assert facts["homes"] == []
    assert facts["run_hive"] == ["harness.sock"]
    assert host["key"] not in facts["keys"]
    assert await _uid_outside(site) not in (0, 65534)  # root inside is not root outside
    seen = await site.one()  # and the forged notice changed nothing
    assert (seen.phase, seen.revision) == (Phase.RUNNING, "r1")
    if AS_ROOT:
        assert seen.memory is not None
        assert site.layout.agent(UID).stat().st_mode & 0o077 == 0


async def test_files_of_the_agent_belong_to_the_caller_outside(site: Site) -> None:
    script = GO + "touch /state/a; mkdir /state/b; chown 1000:1000 /state/a; exit 0"
    await site.runtime.start(site.container(script))
    site.go()
    await site.until_phase(Phase.STOPPED)
    assert (site.state() / "b").stat().st_uid == os.geteuid()
    # Root may give files away inside its own range; the range begins at the caller outside.
    assert (site.state() / "a").stat().st_uid in (os.geteuid(), 1000)


async def test_links_left_by_an_agent_are_never_followed(site: Site, tmp_path: Path) -> None:
    treasure = tmp_path / "treasure"
    treasure.mkdir(mode=0o711)
    (treasure / "file").write_text("untouched")
    script = (
        f"{GO} for d in home opt mnt srv var; do rm -rf /$d; ln -s {treasure} /$d; done;"
        f"rm -f /etc/hostname; ln -s {treasure}/file /etc/hostname;"
        f"rm -f /etc/passwd; ln -s {treasure}/file /etc/passwd;"
        f"ln -s {treasure} /state/linked; ln -s {treasure} /root/.claude/linked;"
        f"ln -s {treasure} /opt2; mkdir /locked; touch /locked/x; chmod 000 /locked;"
        "exit 0"
    )
    await site.runtime.start(site.container(script))
    site.go()
    await site.until_phase(Phase.STOPPED)
    await site.runtime.start(site.container(GO + "ls -d /opt2; ls /opt; cat /etc/hostname; exit 0"))
    site.go()
    await site.until_phase(Phase.STOPPED)
    said = await site.runtime.logs("h-x", 50)
    assert "h-x" in said
    assert "file" not in said
    assert (treasure / "file").read_text() == "untouched"
    assert treasure.stat().st_mode & 0o777 == 0o711
    assert sorted(os.listdir(treasure)) == ["file"]
    await site.runtime.destroy("h-x")
    assert (treasure / "file").read_text() == "untouched"
    assert sorted(os.listdir(site.layout.agent(UID))) == ["claude", "state"]


async def test_a_bottomless_directory_is_removed(site: Site) -> None:
    script = GO + "cd /var && mkdir -p $(printf 'd/%.0s' $(seq 2000)) && echo deep; exit 0"
    await site.runtime.start(site.container(script))
    site.go()
    await site.until_phase(Phase.STOPPED)
    assert "deep" in await site.runtime.logs("h-x", 10)
    await site.runtime.destroy("h-x")
    assert sorted(os.listdir(site.layout.agent(UID))) == ["claude", "state"]


async def test_a_mount_inside_what_an_agent_writes_is_refused(site: Site) -> None:
    container = site.container()
    inner = Bind(site.layout.agent(UID) / "claude", Path("/state/inner"))
    with pytest.raises(RuntimeFailure, match="inside the writable /state"):
        await site.runtime.start(_with(container, inner))


async def test_a_source_that_became_a_link_is_refused(site: Site, tmp_path: Path) -> None:
    container = site.container()
    state = site.state()
    state.rmdir()
    state.symlink_to(tmp_path)
    with pytest.raises(RuntimeFailure, match="through a link"):
        await site.runtime.start(container)
    state.unlink()
    state.mkdir()


async def test_neighbours_do_not_see_each_other(site: Site) -> None:
    one = site.container("mkdir /state/mine; " + WAITS, name="h-a", uid="abcdefghij01")
    two = site.container(
        GO + "ls -A /state; ls /proc | grep -c '^[0-9]*$'; hostname; exit 0",
        name="h-b",
        uid="abcdefghij02",
    )
    await asyncio.gather(site.runtime.start(one), site.runtime.start(two))
    await site.printed("up", "h-a")
    site.go("abcdefghij02")
    await site.until_phase(Phase.STOPPED, "h-b")
    said = await site.runtime.logs("h-b", 10)
    assert "mine" not in said
    assert "h-b" in said
    assert any(line.isdigit() and int(line) <= 4 for line in said)


async def _uid_outside(site: Site) -> int:
    leader = (await site.processes())[2]
    status = Path(f"/proc/{leader}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1])


def _with(container: Any, *binds: Bind) -> Any:
    return replace(container, binds=(*container.binds, *binds))
