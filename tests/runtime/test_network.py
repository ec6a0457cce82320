"""Private networks: the internet and nothing nearer."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.containers import Site
from support.needs import need

from hive_reconciler.runtime import network
from hive_reconciler.runtime.base import Observed, Phase, RuntimeFailure
from hive_reconciler.runtime.forwarding import closed_legacy
from hive_reconciler.runtime.network_rules import (
    POOL,
    PRIVATE,
    Wire,
    allocate,
    interface,
    neighbours,
    resolvers_of,
    ruleset,
)
from hive_reconciler.runtime.nspawn import NspawnRuntime
from hive_reconciler.runtime.records import Cabinet
from hive_reconciler.runtime.supervised import SupervisedRuntime
from hive_reconciler.runtime.wiring import Wiring
from hive_wire.paths import Layout

WORLD = Path(__file__).with_name("network_world.py")
RUNS = Observed("h-x", "u", Phase.RUNNING, "r", "k", 1.0, None, None, None)


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.timeout(120)
def test_a_private_network_reaches_out_and_nothing_near(tmp_path: Path) -> None:
    need("nft", "systemd-nspawn")
    done = subprocess.run(
        ["unshare", "--net", sys.executable, str(WORLD), str(tmp_path / "root")],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout)
    found = told["found"]
    assert told["without forwarding"][0] == "NetworkNotReady"
    assert "ip_forward" in told["without forwarding"][1]
    assert found["192.0.2.9"] == "203.0.113.1"  # out, and seen there as this machine
    assert found["dns 192.168.77.9"] == "name"  # names only, from the host's own resolver
    assert found["resolv.conf"] == "nameserver 192.168.77.9\n"
    near = (
        "192.168.77.9",
        "203.0.113.9",
        "203.0.113.1",
        "192.168.77.1",
        "127.0.0.1",
        "169.254.169.254",
    )
    for host in (*near, told["neighbour"], told["host end"]):
        assert found[host].startswith("no: "), host
    assert told["resolv.conf after a change"] == "nameserver 9.9.9.9\n"
    assert told["rules after a change"] == 2  # by udp and by tcp
    assert found["interfaces"] == ["eth0", "lo"]
    assert not told["spoofed"]
    assert not told["reached from outside"]
    assert told["tables"] == told["tables after a flush"] == told["tables put back"] != ""
    assert told["phase of the other"] == "running"
    assert told["half started"][:2] == ["broken", "stopped"]
    assert "went on" not in told["half started"]
    assert told["tables after the end"] == ""
    assert told["links after the end"] == []
    assert told["host network"]
    assert told["tables without a network"] == ""


@given(st.text(max_size=60), st.sets(st.integers(0, POOL.num_addresses - 1), max_size=50))
def test_an_address_is_free_even_and_of_the_pool(machine: str, numbers: set[int]) -> None:
    used = {POOL[number] for number in numbers}
    wire = allocate(machine, used)
    assert wire.host in POOL
    assert int(wire.host) % 2 == 0
    assert not {wire.host, wire.container} & used
    assert wire == allocate(machine, used)
    assert len(wire.interface) <= 15


def test_a_full_pool_is_said() -> None:
    with pytest.raises(ValueError, match="in use"):
        allocate("x", set(POOL))


FIREWALLS = """
import json, subprocess, sys
from pathlib import Path
from hive_reconciler.runtime import doctor, network
def load(rules): subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
def told():
    found = doctor._network()
    return [found.ok, found.detail, found.cure]
network.FORWARDING.write_text("1")
network.RESOLV = (Path(sys.argv[1]),)
chain = "chain %s { type filter hook forward priority 0; policy %s; }"
load("table inet strict { " + chain % ("forward", "drop") + "\\n}")
found = [told()]
subprocess.run(["sh", "-c", found[0][2]], check=True)
found.append(told())
load("table ip filter { " + chain % ("FORWARD", "accept") + "\\n}")
found.append(told())
load("table ip filter { " + chain % ("FORWARD", "drop") + "\\n}")
found.append(told())
load("table ip filter { chain DOCKER-USER { oifname docker0 accept\\n}\\n}")
found.append(told())
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.root
def test_doctor_names_the_firewall_that_drops_what_is_forwarded(tmp_path: Path) -> None:
    need("nft")
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("nameserver 9.9.9.9\n")
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", FIREWALLS, str(resolv)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    closed, cured, accepting, plain, docker = json.loads(done.stdout)
    assert not closed[0]
    assert "(inet strict forward) drops" in closed[1]
    assert cured[0], cured
    assert cured[1].startswith("possible")
    assert accepting[0], accepting
    assert not plain[0]
    assert "iptables -I FORWARD -i hv+ -j ACCEPT; iptables -I FORWARD -o hv+ " in plain[2]
    assert not docker[0]
    assert docker[2].count("iptables -I DOCKER-USER ") == 2


def test_a_firewall_of_iptables_legacy_is_seen_too() -> None:
    docker = "-P INPUT ACCEPT\n-P FORWARD DROP\n-P OUTPUT ACCEPT\n-N DOCKER-USER\n"
    docker += "-A FORWARD -j DOCKER-USER\n-A FORWARD -o docker0 -j DOCKER\n"
    found = closed_legacy("iptables-legacy", docker)
    assert found is not None
    out, back = found[1].split("; ")
    assert out == "iptables-legacy -I DOCKER-USER -i hv+ -j ACCEPT"
    assert closed_legacy("x", docker.replace("FORWARD DROP", "FORWARD ACCEPT")) is None
    cure = [line.replace("iptables-legacy -I", "-A") for line in (out, back)]
    assert closed_legacy("x", docker + cure[0]) is not None
    assert closed_legacy("x", docker + "\n".join(cure)) is None


def test_without_wires_the_ruleset_only_removes() -> None:
    assert ruleset("-t", [], ["192.0.2.1"], []).splitlines() == [
        "table inet hive_t",
        "delete table inet hive_t",
    ]


def test_private_ranges_cover_the_pool_and_what_is_private() -> None:
    ranges = [ipaddress.IPv4Network(text) for text in PRIVATE]
    assert any(POOL.subnet_of(one) for one in ranges)
    for text in ("10.1.2.3", "172.31.0.1", "192.168.1.1", "169.254.169.254", "100.100.100.200"):
        assert any(ipaddress.IPv4Address(text) in one for one in ranges)
    assert not any(ipaddress.IPv4Address("8.8.8.8") in one for one in ranges)


def test_neighbours_are_the_networks_of_this_machine() -> None:
    told = ("203.0.113.1/24", "10.0.0.5/8", "198.19.4.2/31", "192.0.2.7/32", "127.0.0.1/8")
    found = neighbours([ipaddress.IPv4Interface(text) for text in told])
    assert found == ("203.0.113.0/24",)


@pytest.mark.root
def test_the_kernel_takes_the_ruleset() -> None:
    need("nft")
    wires = [Wire(interface(name), POOL[2 * number]) for number, name in enumerate("abc")]
    for servers in ([], ["192.0.2.1", "8.8.8.8"]):
        done = subprocess.run(
            ["unshare", "--net", "nft", "--check", "-f", "-"],
            input=ruleset("-0123abcd", wires, servers, ["8.0.0.0/7", "8.8.0.0/16"]),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_a_filter_that_was_not_removed_is_removed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout.of(tmp_path / "root")
    wiring = Wiring(layout, Cabinet(layout))
    entry = Cabinet(layout).entry("h-x")
    entry.make()
    (entry.path / "wire").write_text("198.19.0.0")
    loaded: list[int] = []

    monkeypatch.setattr(network, "guard", _busy)
    with pytest.raises(RuntimeFailure, match="busy"):
        wiring.disconnect("h-x")
    monkeypatch.setattr(network, "guard", lambda _tag, wires: loaded.append(len(wires)))
    wiring.disconnect("h-x")
    wiring.disconnect("h-x")
    assert loaded == [0]


@pytest.fixture
async def wired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[NspawnRuntime]:
    """Two that run, h-x with a private network; the programs of this machine are in tmp_path."""
    runtime = NspawnRuntime(Layout(tmp_path / "root", tmp_path / "run", "-t"))
    for name in ("h-x", "h-y"):
        runtime._cabinet.entry(name).make()
    (runtime._cabinet.entry("h-x").path / "wire").write_text("198.19.0.0")

    async def both(_: object) -> tuple[Observed, ...]:
        return (RUNS, replace(RUNS, name="h-y"))

    monkeypatch.setattr(SupervisedRuntime, "observe", both)
    monkeypatch.setattr(network, "RESOLV", (tmp_path / "resolv.conf",))
    monkeypatch.setenv("PATH", str(tmp_path))
    yield runtime
    await runtime.close()


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


async def test_a_filter_that_cannot_be_put_back_is_the_trouble_of_those_it_is_for(
    wired: NspawnRuntime, tmp_path: Path
) -> None:
    for says in ("nft is missing", "nft -f -: busy"):
        program(tmp_path / "ip", "echo '[]'")
        one, other = await wired.observe()
        assert says in one.unenforced[0]
        assert (one.phase, one.revision) == (Phase.RUNNING, "r")
        assert other.unenforced == ()
        program(tmp_path / "nft", "echo busy >&2; exit 1")
    program(tmp_path / "nft", "exit 0")
    assert [one.unenforced for one in await wired.observe()] == [(), ()]


@pytest.mark.root
async def test_an_agent_that_gave_up_its_network_starts_without_the_tools(site: Site) -> None:
    need("nft", "systemd-nspawn")
    entry = Cabinet(site.layout).entry("h-x")
    entry.make()
    (entry.path / "wire").write_text("198.19.0.0")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(network, "guard", _busy)
        await site.runtime.start(site.container())
        assert await site.phase() is Phase.RUNNING
    await site.runtime.stop("h-x", 1)
    assert not (entry.path / "wire").exists()


def _busy(_tag: str, _wires: object) -> None:
    raise RuntimeFailure("NetworkFailed", "nft: busy")


async def test_the_name_servers_of_a_container_follow_this_machines(
    wired: NspawnRuntime, tmp_path: Path
) -> None:
    program(tmp_path / "ip", "echo '[]'")
    program(tmp_path / "nft", "exit 0")
    file = wired._cabinet.entry("h-x").path / "resolv.conf"
    file.write_text("nameserver 192.168.100.100\n")
    (tmp_path / "resolv.conf").write_text("nameserver 9.9.9.9\n")
    with file.open() as bound:  # as the container has it
        await wired.observe()
        assert bound.read() == "nameserver 9.9.9.9\n"


async def test_a_tool_that_hangs_keeps_nobody_from_looking(
    wired: NspawnRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hive_reconciler.runtime.nspawn.FILTER_SECONDS", 0.1)
    os.mkfifo(tmp_path / "go")
    program(tmp_path / "ip", f"read -r _ <{tmp_path}/go; echo '[]'")
    program(tmp_path / "nft", "exit 0")
    for _ in range(2):  # the second one waits for the same refresh
        one, other = await wired.observe()
        assert "did not end" in one.unenforced[0]
        assert other.unenforced == ()
    await asyncio.to_thread(wired._wiring.disconnect, "h-y")  # as any start without a network
    program(tmp_path / "ip", "echo '[]'")
    await asyncio.to_thread((tmp_path / "go").write_text, "\n")
    monkeypatch.setattr("hive_reconciler.runtime.nspawn.FILTER_SECONDS", 30)
    assert [one.unenforced for one in await wired.observe()] == [(), ()]


def test_a_tool_that_went_missing_is_told_with_its_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        RuntimeFailure, match="nft is missing; cure: Debian: apt install nftables"
    ) as failure:
        network.guard("-t", [])
    assert failure.value.reason == "NetworkNotReady"


def test_a_tool_that_hangs_is_told_as_any_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "SECONDS", 0.1)
    with pytest.raises(RuntimeFailure, match=r"sleep 60: did not end in 0\.1 s") as failure:
        network._run(["sleep", "60"])
    assert failure.value.reason == "NetworkFailed"


def test_resolvers_that_a_container_cannot_reach_are_left_out() -> None:
    stub = "nameserver 127.0.0.53\nnameserver ::1\n"
    real = "# x\nnameserver 192.168.1.1\nnameserver fe80::1\noptions edns0\nnameserver 9.9.9.9\n"
    own = {
        ipaddress.IPv4Address("192.168.1.1")
    }  # whatever a container sends to this machine is lost
    assert resolvers_of((stub, real), set()) == ("192.168.1.1", "9.9.9.9")
    assert resolvers_of((stub, real), own) == ("9.9.9.9",)
    assert resolvers_of(("nameserver 192.168.1.1\n", real), own) == ("9.9.9.9",)
    assert resolvers_of((stub,), set()) == ()
    assert resolvers_of(("nameserver\nnameserver 1.1.1.1;drop\n",), set()) == ()
