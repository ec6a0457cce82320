"""Logs an agent's engine in to its model: a URL for a person, a code from that person.

Neither is written down. The URL comes from the container, so only a login page of the
model's maker is passed on: whatever else it says is not put before a person.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from hive_wire.rpc_errors import REFUSED, UNAVAILABLE, RpcError

from .agent import Agent
from .broker import Broker

SECONDS = 60.0
HOSTS = frozenset({"claude.ai", "claude.com", "platform.claude.com", "console.anthropic.com"})


class Logins:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def start(self, agent: Agent, by: str) -> str:
        """The URL. Raises RpcError."""
        record = agent.record
        if record.network == "none" or record.engine != "claude":
            raise RpcError(
                REFUSED,
                f"{agent.name} has no network or no claude engine: the gateway logs in for it",
            )
        url = str((await self._ask(agent, {"step": "start"})).get("url", ""))
        if not is_login_page(url):
            await self._ask(agent, {"step": "cancel"})
            raise RpcError(
                REFUSED,
                f"{agent.name} named an address that is no login page: it is not https at one of "
                f"{', '.join(sorted(HOSTS))}. Look at what runs there before you log in",
            )
        self._note(agent, by, "started")
        return url

    async def code(self, agent: Agent, code: str, by: str) -> str:
        """What to tell the person. Raises RpcError."""
        try:
            answer = await self._ask(agent, {"step": "code", "code": code})
        except RpcError:
            self._note(agent, by, "failed")
            raise
        self._note(agent, by, "done")
        return str(answer.get("text", ""))[:1000]

    async def cancel(self, agent: Agent, by: str) -> None:
        await self._ask(agent, {"step": "cancel"})
        self._note(agent, by, "cancelled")

    async def _ask(self, agent: Agent, step: dict[str, str]) -> dict[str, Any]:
        try:
            answer = await agent.connected().request("login", step, timeout=SECONDS)
        except TimeoutError:
            raise RpcError(UNAVAILABLE, f"{agent.name} did not answer in time") from None
        return answer if isinstance(answer, dict) else {}

    def _note(self, agent: Agent, by: str, outcome: str) -> None:
        self._broker.record(self._broker.event(agent.uid, "login", {"by": by, "outcome": outcome}))


def is_login_page(url: str) -> bool:
    """Whether a person may be sent there."""
    if len(url) > 4000 or not url.isascii() or not url.isprintable() or "\\" in url:
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return (parts.scheme, parts.netloc, port) == ("https", parts.hostname, None) and (
        parts.hostname in HOSTS
    )
