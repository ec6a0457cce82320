"""The engines: one small protocol, and the two that there are.

Both executables take the same flags and speak stream-json on their pipes; here stands all in
which they differ.
"""

from __future__ import annotations

import sys
from typing import Protocol

from ..agentfile import Agent
from ..settings import Settings

CLAUDE_ENV = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
    "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
    "CLAUDE_CODE_DISABLE_CRON": "1",
    "CLAUDE_CODE_DISABLE_FILE_MENTIONS": "1",
    "ENABLE_TOOL_SEARCH": "false",
    "CLAUDE_CODE_MAX_RETRIES": "4",
    "MCP_TIMEOUT": "600000",  # the broker may be away for a while
    "CLAUDE_BYTE_STREAM_IDLE_TIMEOUT_MS": "90000",
    "CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS": "1",
}


class Engine(Protocol):
    """What an engine is to the rest of the harness."""

    @property
    def has_model(self) -> bool:
        """Whether it asks a model: then its conversation fills a window and costs tokens, it
        can log in, and it is a program with versions of its own."""

    def command(self, settings: Settings) -> tuple[str, ...]:
        """The executable, before the flags that both take."""

    def environment(self, agent: Agent, settings: Settings) -> dict[str, str]:
        """What it needs beside the variables that both get."""


class Claude:
    """The Claude Code CLI."""

    has_model = True

    def command(self, settings: Settings) -> tuple[str, ...]:
        return (str(settings.engine_path), "-p")

    def environment(self, agent: Agent, settings: Settings) -> dict[str, str]:
        if agent.network != "none" and has_own_login(settings):
            return CLAUDE_ENV
        return {
            **CLAUDE_ENV,
            # Without an http:// base URL it would speak TLS into the socket.
            "ANTHROPIC_BASE_URL": "http://model.invalid",
            "ANTHROPIC_UNIX_SOCKET": str(settings.model_sock),
            "ANTHROPIC_API_KEY": "the-gateway-adds-the-key",
        }


class Rehearsal:
    """Our scripted stand-in: no model, no account, no network."""

    has_model = False

    def command(self, settings: Settings) -> tuple[str, ...]:
        return (sys.executable, "-m", "hive_harness.rehearsal")

    def environment(self, agent: Agent, settings: Settings) -> dict[str, str]:
        return {
            "HIVE_NAME": agent.name,
            "HIVE_ROLE": agent.role,
            "HIVE_AGENTS": str(settings.agents),
            "HIVE_SCRIPTS": str(settings.rehearsal),
        }


ENGINES: dict[str, Engine] = {"claude": Claude(), "rehearsal": Rehearsal()}


def has_own_login(settings: Settings) -> bool:
    """Whether somebody logged the engine in, inside the container."""
    return (settings.claude_config / ".credentials.json").exists()
