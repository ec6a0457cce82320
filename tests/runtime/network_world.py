"""A machine with an internet, made of network namespaces; run it by `unshare --net`.

argv: root of a site. Starts containers with private networks and prints what they could reach.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.containers import WAITS, Site, until

from hive_reconciler.runtime import network
from hive_reconciler.runtime.base import Phase, RuntimeFailure

OUTSIDE, LAN, SELF, PORT = "192.0.2.9", "192.168.77.9", "203.0.113.1", 7777
BESIDE = "203.0.113.9"  # in this machine's own network, though everybody may route to it
ANSWER = """
import socket, sys, threading
def tcp():
    s = socket.create_server(("0.0.0.0", 7777))
    while True:
        c, peer = s.accept(); c.sendall(peer[0].encode()); c.close()
threading.Thread(target=tcp, daemon=True).start()
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("0.0.0.0", 53))
print("listening", flush=True)
while True:
    data, peer = u.recvfrom(512); u.sendto(b"name", peer)
"""
PROBE = """
import json, os, socket, sys
def tcp(host):
    try:
        with socket.create_connection((host, 7777), 1) as s:
            return s.recv(99).decode()
    except OSError as error:
        return "no: " + str(error)
def dns(host):
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(1); s.sendto(b"?", (host, 53)); return s.recv(99).decode()
    except OSError as error:
        return "no: " + str(error)
given = json.loads(sys.argv[1])
found = {host: tcp(host) for host in given}
found["dns " + given[1]] = dns(given[1])
found["resolv.conf"] = open("/etc/resolv.conf").read()
found["interfaces"] = sorted(name for _, name in socket.if_nameindex())
try:
    with open("/proc/sys/net/ipv4/conf/all/accept_redirects") as f: f.read()
    os.system("ip address add 10.9.9.9/32 dev eth0 2>/dev/null && touch /state/spoofed")
finally:
    open("/state/result.new", "w").write(json.dumps(found))
    os.rename("/state/result.new", "/state/result.json")
server = socket.create_server(("0.0.0.0", 7777))
while True:
    server.accept()
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def make_world(name: str) -> subprocess.Popen[str]:
    ip("netns", "add", name)
    ip("link", "add", "net0", "type", "veth", "peer", "name", "eth0", "netns", name)
    for address in (f"{SELF}/24", "192.168.77.1/24"):
        ip("address", "add", address, "dev", "net0")
    for link in ("net0", "lo"):
        ip("link", "set", link, "up")
    for address in (f"{OUTSIDE}/32", f"{BESIDE}/24", f"{LAN}/24"):
        ip("-n", name, "address", "add", address, "dev", "eth0")
    ip("-n", name, "link", "set", "eth0", "up")
    ip("route", "add", OUTSIDE, "via", BESIDE)
    ip("-n", name, "route", "add", "198.19.0.0/16", "via", SELF)  # a hostile neighbour's
    command = ["nsenter", f"--net=/run/netns/{name}", sys.executable, "-c", ANSWER]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "listening\n"
    return process


def tables() -> str:
    return subprocess.run(
        ["nft", "list", "tables"], capture_output=True, text=True, check=False
    ).stdout


def rules() -> str:
    return subprocess.run(
        ["nft", "list", "ruleset"], capture_output=True, text=True, check=True
    ).stdout


def reached(name: str, host: str) -> bool:
    """Whether somebody outside gets into a container."""
    code = f"import socket; socket.create_connection(({host!r}, {PORT}), 1)"
    command = ["nsenter", f"--net=/run/netns/{name}", sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


async def half_started(site: Site) -> list[str]:
    """Whoever starts it dies before its network is there."""
    code = (
        "import asyncio, os, sys; sys.path.insert(0, sys.argv[2])\n"
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        "from support.containers import Site\n"
        "site = Site(Path(sys.argv[1]))\n"
        "site.runtime._wiring.connect = lambda *_: os._exit(0)\n"
        "container = replace(site.container('echo went on', name='h-b'), network='private')\n"
        "asyncio.run(site.runtime.start(container))\n"
    )
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", code, str(site.layout.root), tests]
    await (await asyncio.create_subprocess_exec(*command)).wait()
    first = await site.phase("h-b")
    await site.runtime.stop("h-b", 0)
    return [first, await site.phase("h-b"), *await site.runtime.logs("h-b", 100)]


async def story(site: Site, world: str) -> dict[str, Any]:
    told: dict[str, Any] = {}
    script = site.layout.root / "probe.py"
    script.write_text(PROBE)
    private = replace(site.container(name="h-b", uid="abcdefghij02"), network="private")
    try:
        await site.runtime.start(private)
    except RuntimeFailure as failure:
        told["without forwarding"] = [failure.reason, failure.message]
    network.FORWARDING.write_text("1")
    neighbour = await site.python(script, json.dumps([OUTSIDE, LAN]), name="h-b", uid=private.uid)
    await site.runtime.start(replace(neighbour, network="private"))
    await until((site.state(private.uid) / "result.json").exists)
    address = (site.layout.run / "containers" / "h-b" / "wire").read_text()
    inside = address[: address.rindex(".") + 1] + str(int(address.rsplit(".", 1)[1]) + 1)
    hosts = [
        OUTSIDE,
        LAN,
        BESIDE,
        SELF,
        "192.168.77.1",
        address,
        inside,
        "127.0.0.1",
        "169.254.169.254",
    ]
    prober = await site.python(script, json.dumps(hosts))
    await site.runtime.start(replace(prober, network="private"))
    await until((site.state() / "result.json").exists)
    told["found"] = json.loads((site.state() / "result.json").read_text())
    told["neighbour"], told["host end"] = inside, address
    told["spoofed"] = (site.state() / "spoofed").exists()
    told["reached from outside"] = reached(world, inside)
    told["tables"] = tables()
    network.RESOLV[0].write_text("nameserver 9.9.9.9\n")  # this machine moved to another network
    await site.runtime.observe()
    _, _, first = await site.processes()
    told["resolv.conf after a change"] = Path(f"/proc/{first}/root/etc/resolv.conf").read_text()
    told["rules after a change"] = rules().count("ip daddr 9.9.9.9")
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    await site.runtime.observe()
    told["tables after a flush"] = tables()
    site.runtime.adopt(lambda _: None)
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    await until(tables)  # and nobody looks
    told["tables put back"] = tables()
    await site.runtime.stop("h-x", 1)
    told["phase of the other"] = await site.phase("h-b")
    await site.runtime.stop("h-b", 1)
    told["half started"] = await half_started(site)
    told["tables after the end"] = tables()
    told["links after the end"] = sorted(
        name for _, name in socket.if_nameindex() if name.startswith("hv")
    )
    short = replace(site.container("exit 0"), network="private")
    await site.runtime.start(short)
    await site.until_phase(Phase.STOPPED)
    await site.runtime.start(site.container(WAITS, name="h-x"))  # without, and with no stop between
    told["tables without a network"] = tables()
    await site.runtime.stop("h-x", 1)
    await site.runtime.start(replace(site.container(WAITS), network="host"))
    told["host network"] = await site.phase() is Phase.RUNNING
    return told


async def main() -> None:
    site = Site(Path(sys.argv[1]))
    world = f"hvworld{os.getpid()}"
    resolv = site.layout.root / "resolv.conf"
    resolv.write_text(f"nameserver 127.0.0.53\nnameserver {LAN}\n")
    network.RESOLV = (resolv,)
    outside = make_world(world)
    here = subprocess.Popen([sys.executable, "-c", ANSWER], stdout=subprocess.DEVNULL)
    try:
        print(json.dumps(await story(site, world)))
    finally:
        await site.close()
        for process in (outside, here):
            process.kill()
            process.wait()
        ip("netns", "delete", world)


asyncio.run(main())
