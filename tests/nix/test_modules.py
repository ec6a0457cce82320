"""What the modules make of settings, against golden files; what is wrong is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.nix_env import Nix
from support.nix_modules import evaluate

from hive_broker.server import ASK_GROUP

REPOSITORY = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden"
UPDATE = "HIVE_UPDATE_GOLDEN" in os.environ

HOST: dict[str, dict[str, Any]] = {
    "host-off": {},
    "host-enable": {"enable": True},
    "host-web": {
        "enable": True,
        "dashboard": {
            "address": "0.0.0.0",
            "port": 7443,
            "allowedHosts": ["hive.example.org", "hive's"],
            "openFirewall": True,
            "basePath": "/hive",
            "proxies": ["192.0.2.7", "2001:db8::/64"],
            "proxyUserHeader": "Remote-User",
        },
    },
    "host-secrets": {
        "enable": True,
        "operators": ["alice", "bob"],
        "stopTimeout": 30,
        "hyperhiveFlake": "git+https://git.example.org/hyperhive",
        "gateway": {"apiKeyFile": "/run/secrets/key", "url": "https://models.example.org"},
    },
    "host-oauth": {
        "enable": True,
        "dashboard": {"address": "192.0.2.4"},
        "gateway": {"oauthTokenFile": "/run/secrets/token"},
    },
    "host-rehearse": {"enable": True, "rehearse": True},
    "host-declared": {"enable": True, "swarm": "/src/templates/swarm"},
}
AGENT: dict[str, dict[str, Any]] = {
    "agent-off": {},
    "agent-claude": {"enable": True, "name": "scout"},
    "agent-rehearsal": {"enable": True, "name": "scout", "engine": "rehearsal"},
    "agent-manager": {
        "enable": True,
        "name": "hm1nd",
        "role": "manager",
        "engine": "rehearsal",
    },
}
WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "unknown option": ("host", {"enable": True, "prot": 1}, "prot' does not exist"),
    "wrong type": ("host", {"enable": "yes"}, "enable' is not of type `boolean'"),
    "port": ("host", {"enable": True, "dashboard": {"port": 70000}}, "port' is not of type"),
    "two credentials": (
        "host",
        {"enable": True, "gateway": {"apiKeyFile": "/a", "oauthTokenFile": "/b"}},
        "set apiKeyFile or oauthTokenFile, not both",
    ),
    "swarm": ("host", {"enable": True, "swarm": "here"}, "swarm' is not of type"),
    "secret by a name": (
        "host",
        {"enable": True, "gateway": {"apiKeyFile": "key"}},
        "apiKeyFile' is not of type",
    ),
    "base path": (
        "host",
        {"enable": True, "dashboard": {"basePath": "hive/"}},
        "basePath' is not of type",
    ),
    "secret in the store": (
        "host",
        {"enable": True, "gateway": {"apiKeyFile": "/nix/store/x-key"}},
        "which everybody can read",
    ),
    "public without names": (
        "host",
        {"enable": True, "dashboard": {"address": "::"}},
        "name the hosts under which browsers reach ::",
    ),
    "proxy without a header": (
        "host",
        {"enable": True, "dashboard": {"proxies": ["192.0.2.7"]}},
        "proxies and proxyUserHeader need each other",
    ),
    "agent without a name": ("agent", {"enable": True}, "name' is not of type"),
    "reserved characters": ("agent", {"enable": True, "name": "../x"}, "name' is not of type"),
    "engine": ("agent", {"enable": True, "name": "a", "engine": "gpt"}, "engine' is not of type"),
    "claude without claude": (
        "agent",
        {"enable": True, "name": "a", "package": None},
        'engine "claude" needs Claude Code',
    ),
}


@pytest.mark.parametrize("name", [*HOST, *AGENT])
def test_configuration(
    nix: Nix, source: Path, libraries: dict[str, Path | None], name: str
) -> None:
    kind = name.split("-", 1)[0]
    options = (HOST if kind == "host" else AGENT)[name]
    golden = GOLDEN / f"{name}.json"
    for which, library in libraries.items():
        done = evaluate(nix, source, kind, options, library)
        assert done.returncode == 0, f"{which}: {done.stderr}"
        made = json.dumps(json.loads(done.stdout), indent=2, sort_keys=True) + "\n"
        if UPDATE and library is None:
            golden.write_text(made)
        assert made == golden.read_text(), f"{which}: HIVE_UPDATE_GOLDEN=1 accepts a change"


@pytest.mark.parametrize("name", WRONG)
def test_wrong_settings_are_refused_in_words(
    nix: Nix, source: Path, libraries: dict[str, Path | None], name: str
) -> None:
    kind, options, words = WRONG[name]
    for which, library in libraries.items():
        done = evaluate(nix, source, kind, options, library)
        assert done.returncode != 0, f"{which}: was accepted"
        assert words in done.stderr, f"{which}: {done.stderr}"


def test_an_old_host_keeps_its_containers_where_nixos_does(nix: Nix, source: Path) -> None:
    done = evaluate(nix, source, "host", {"enable": True}, None, system={"stateVersion": "21.11"})
    assert done.returncode == 0, done.stderr
    systemd = json.loads(done.stdout)["systemd"]
    assert systemd["services"]["hive-c0re"]["environment"]["HIVE_CONTAINERS"] == "containers"
    assert "/etc/containers" in systemd["tmpfiles"]["settings"]["10-hyperhive"]


@pytest.mark.parametrize("mutable", [True, False])
def test_etc_must_be_mutable(nix: Nix, source: Path, mutable: bool) -> None:
    overlay = {"etc": {"overlay": {"enable": True, "mutable": mutable}}}
    done = evaluate(nix, source, "host", {"enable": True}, None, system=overlay)
    assert (done.returncode == 0) is mutable
    assert mutable or "set system.etc.overlay.mutable = true" in done.stderr


def test_only_the_gateway_has_credentials() -> None:
    services = json.loads((GOLDEN / "host-secrets.json").read_text())["systemd"]["services"]
    having = {
        name for name, unit in services.items() if unit["serviceConfig"].get("LoadCredential")
    }
    assert having == {"hive-gateway"}


def test_no_process_but_the_reconciler_is_root() -> None:
    services = json.loads((GOLDEN / "host-enable.json").read_text())["systemd"]["services"]
    for name in ("hive-broker", "hive-gateway", "hive-dashboard"):
        unit = services[name]["serviceConfig"]
        assert unit["User"] == name
        assert unit["CapabilityBoundingSet"] == ""
        assert unit["NoNewPrivileges"] is True
        assert unit["ProtectSystem"] == "strict"
    # host.sock is for the group hive: the dashboard speaks for people there, nobody else does.
    asking = {
        n
        for n, u in services.items()
        if "hive" in u["serviceConfig"].get("SupplementaryGroups", [])
    }
    assert asking == {"hive-dashboard"}
    groups = json.loads((GOLDEN / "host-enable.json").read_text())["users"]["groups"]
    assert groups["hive"]["members"] == []


def test_people_ask_the_broker_and_bind_nothing_beside_it() -> None:
    made = json.loads((GOLDEN / "host-secrets.json").read_text())
    run = made["systemd"]["tmpfiles"]["settings"]["10-hyperhive"]["/run/hyperhive"]["d"]
    members = {
        name: set(group.get("members", ())) for name, group in made["users"]["groups"].items()
    }
    assert members[run["group"]] == {"hive-broker", "hive-gateway", "hive-dashboard"}
    assert members[ASK_GROUP] == {*members[run["group"]], "alice", "bob"}
    units = made["systemd"]["services"]
    assert units["hive-broker"]["serviceConfig"]["Group"] == ASK_GROUP
    for name in ("hive-broker", "hive-gateway", "hive-dashboard"):
        unit = units[name]["serviceConfig"]
        assert {ASK_GROUP, run["group"]} <= {unit["Group"], *unit["SupplementaryGroups"]}


def test_a_switch_leaves_a_running_turn_alone() -> None:
    made = json.loads((GOLDEN / "agent-claude.json").read_text())
    unit = made["systemd"]["services"]["hive-harness"]
    assert unit["restartIfChanged"] is False
    assert unit["stopIfChanged"] is False
