"""What is seen of one turn in the engine's stream, up to its verdict. No I/O, no clock."""

from __future__ import annotations

from typing import Any

from ..verdict import Evidence, Verdict, failed, of_result


class TurnWatch:
    """Fed with every event of a turn; `verdict` is set once the turn is over."""

    def __init__(self) -> None:
        self.cost_before = 0.0  # USD that the process reported before
        self._evidence = Evidence()
        self._tools: set[str] = set()
        self.verdict: Verdict | None = None
        self.result: dict[str, Any] | None = None
        self.login_needed = False
        self.acted = False  # the engine did anything for this turn
        self.progressed = False  # the engine asked the model again: it keeps earlier results

    @property
    def tool_runs(self) -> bool:
        return bool(self._tools)

    def feed(self, event: dict[str, Any]) -> None:
        self.progressed = False
        if event.get("type") != "command_lifecycle":
            self.acted = True
        match event:
            case {"type": "assistant"}:
                self._assistant(event)
            case {"type": "user"}:
                self._tools -= _ids(event, "tool_result", "tool_use_id")
            case {"type": "stream_event", "event": {"type": "message_start"}}:
                self.progressed = True
            case {"type": "system", "subtype": "api_retry", "error": "authentication_failed"}:
                self.login_needed = True
            case {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected"} as info}:
                reset = info.get("resetsAt")
                if isinstance(reset, int | float):
                    self._evidence.reset_at = float(reset)
            case {"type": "result"}:
                self._result(event)

    def _assistant(self, event: dict[str, Any]) -> None:
        if event.get("parent_tool_use_id") is None:
            error = event.get("error")
            self._evidence.error = error if isinstance(error, str) else ""
        self._tools |= _ids(event, "tool_use", "id")

    def _result(self, event: dict[str, Any]) -> None:
        origin = event.get("origin")
        if isinstance(origin, dict) and origin.get("kind") == "task-notification":
            return  # a turn that nobody asked for
        self.progressed = True
        self.result = event
        self.verdict = of_result(event, self._evidence, self.cost_before)
        if self.login_needed and self.verdict.cause == "stopped":
            self.verdict = failed("auth", "the model's API refused the credential")


def _ids(event: dict[str, Any], block_type: str, key: str) -> set[str]:
    message = event.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return set()
    return {
        str(block.get(key))
        for block in content
        if isinstance(block, dict) and block.get("type") == block_type
    }
