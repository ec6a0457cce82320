"""Whether this machine's other firewalls let through what private networks forward: pure.

Every chain at the kernel's forward hook must accept a packet; ours cannot speak for another's.
"""

from __future__ import annotations

import json
import re
from typing import Any

from .network_rules import WIRES

FORWARD = ("filter", "forward", "drop")  # type, hook, policy
_BACK = "ESTABLISHED,RELATED"


def closed(listing: str) -> tuple[str, str] | None:
    """(what drops it, cure) by what `nft -j list ruleset` says, or None.

    A chain counts as open when rules beside it name our interfaces, both ways.
    """
    told = json.loads(listing)["nftables"]
    chains = [item["chain"] for item in told if "chain" in item]
    rules = [item["rule"] for item in told if "rule" in item]
    for chain in chains:
        at = (chain["family"], chain["table"])
        beside = [rule.get("expr", ()) for rule in rules if (rule["family"], rule["table"]) == at]
        if (
            tuple(chain.get(key) for key in ("type", "hook", "policy")) != FORWARD
            or at[0] not in ("ip", "inet")
            or all(any(_accepts(rule, way) for rule in beside) for way in ("iifname", "oifname"))
        ):
            continue
        place = f"{at[0]} {at[1]} {chain['name']}"
        if place != "ip filter FORWARD":
            return _told(place, *_by_nft(place))
        names = {other["name"] for other in chains if (other["family"], other["table"]) == at}
        return _told(place, *_by_iptables("iptables", names))
    return None


def closed_legacy(program: str, listing: str) -> tuple[str, str] | None:
    """The same by what `iptables-legacy -S` says, which nft does not see."""
    open_ways = all(
        re.search(rf"^-A .*-{way} hv\+ .*-j ACCEPT$", listing, re.MULTILINE) for way in "io"
    )
    if open_ways or not re.search(r"^-P FORWARD DROP$", listing, re.MULTILINE):
        return None
    names = set(re.findall(r"^-[PN] (\S+)", listing, re.MULTILINE))
    return _told("FORWARD of iptables-legacy", *_by_iptables(program, names))


def _accepts(statements: list[Any], way: str) -> bool:
    """Whether a rule lets through what comes from, or goes to, our interfaces."""
    named = False
    for statement in statements:
        match = statement.get("match", {})
        if match.get("left") == {"meta": {"key": way}}:
            right = match["right"]
            named = WIRES in (right.get("set", ()) if isinstance(right, dict) else [right])
    return named and any("accept" in statement for statement in statements)


def _told(place: str, out: str, back: str) -> tuple[str, str]:
    what = f"a firewall of this machine ({place}) drops what is forwarded from {WIRES}"
    return what, f"{out}; {back}"


def _by_nft(place: str) -> tuple[str, str]:
    rule = f"nft insert rule {place}"
    return (
        f"{rule} iifname '{WIRES}' accept",
        f"{rule} oifname '{WIRES}' ct state {_BACK.lower()} accept",
    )


def _by_iptables(program: str, names: set[str]) -> tuple[str, str]:
    """Docker keeps its hands off DOCKER-USER. (iptables would not read a rule made by nft.)"""
    rule = f"{program} -I {'DOCKER-USER' if 'DOCKER-USER' in names else 'FORWARD'}"
    wires = WIRES.replace("*", "+")
    return (
        f"{rule} -i {wires} -j ACCEPT",
        f"{rule} -o {wires} -m conntrack --ctstate {_BACK} -j ACCEPT",
    )
