"""What is seen of one turn in the engine's stream, up to its verdict. No I/O, no clock."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..verdict import LATEST, Evidence, Verdict, count, failed, of_result
from .repeats import MOST_REPEATS, Repeats

_TRIES = ("attempt", "max_retries")
_READ = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


class TurnWatch:
    """Fed with every event of a turn; `verdict` is set once the turn is over."""

    def __init__(self) -> None:
        self.cost_before = 0.0  # USD that the process reported before
        self._evidence = Evidence()
        self._acted = False  # the engine did anything for this turn
        self._tools: set[str] = set()
        self.verdict: Verdict | None = None
        self.result: dict[str, Any] | None = None
        self.passed_over = False  # the engine rests, and did nothing for this turn: it knew it
        self.progressed = False  # the engine asked the model again: it keeps earlier results
        self.context = 0  # tokens that the model last read and wrote
        self.window = 0  # tokens that it can take
        self.compacted: int | None = None  # tokens that a compaction left
        self.trouble = ""  # what the model's API said last, while the engine tries again
        self.give_up: Verdict | None = None  # the turn is to be interrupted, and ends like this
        self._repeats = Repeats()

    @property
    def tool_runs(self) -> bool:
        return bool(self._tools)

    def feed(self, event: dict[str, Any]) -> None:
        self.progressed = False
        match event:
            case {"type": "command_lifecycle"}:
                return
            case {"type": "system", "subtype": "session_state_changed", "state": "idle"}:
                self.passed_over = not self._acted
                return
        self._acted = True
        match event:
            case {"type": "assistant"}:
                self._assistant(event)
            case {"type": "user"}:
                self._user(event)
            case {"type": "stream_event", "event": dict(streamed)}:
                self._streamed(event, streamed)
            case {"type": "system", "subtype": "api_retry"}:
                self._retries(event)
            case {"type": "system", "subtype": "compact_boundary", "compact_metadata": dict(how)}:
                self.compacted = count(how.get("post_tokens"))
            case {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected"} as info}:
                reset = info.get("resetsAt")
                if isinstance(reset, int | float) and reset >= 0:
                    self._evidence.reset_at = float(min(reset, LATEST))
            case {"type": "result"}:
                self._result(event)

    def _assistant(self, event: dict[str, Any]) -> None:
        if event.get("parent_tool_use_id") is None:
            error = event.get("error")
            self._evidence.error = error if isinstance(error, str) else ""
        self._tools |= _ids(event, "tool_use", "id")
        for block in _blocks(event, "tool_use"):
            self._repeats.called(block)

    def _user(self, event: dict[str, Any]) -> None:
        self._tools -= _ids(event, "tool_result", "tool_use_id")
        for block in _blocks(event, "tool_result"):
            tool = self._repeats.answered(block)
            if tool is not None:
                words = f"{tool} was called {MOST_REPEATS} times with the same input and answer"
                self._give_up(failed("loop", words))

    def _retries(self, event: dict[str, Any]) -> None:
        if event.get("error") == "authentication_failed":
            self._give_up(failed("auth", "the model's API refused the credential"))
        status, tried, most = (count(event.get(k)) for k in ("error_status", *_TRIES))
        said = f"answered {status}" if status else "did not answer"
        self.trouble = f"the model's API {said}; it is asked again, {tried} of {most}"

    def _give_up(self, verdict: Verdict) -> None:
        self.give_up = self.give_up or verdict

    def _streamed(self, event: dict[str, Any], streamed: dict[str, Any]) -> None:
        self.progressed = streamed.get("type") == "message_start"
        self.trouble = ""
        if event.get("parent_tool_use_id") is not None:
            return
        match streamed:
            case {"type": "message_start", "message": {"usage": dict(usage)}}:
                self.context = sum(count(usage.get(key)) for key in _READ)
            case {"type": "message_delta", "usage": dict(usage)}:
                self.context += count(usage.get("output_tokens"))

    def _result(self, event: dict[str, Any]) -> None:
        origin = event.get("origin")
        if isinstance(origin, dict) and origin.get("kind") == "task-notification":
            return  # a turn that nobody asked for
        self.progressed = True
        self.trouble = ""
        self.result = event
        self.verdict = of_result(event, self._evidence, self.cost_before)
        if self.give_up is not None and self.verdict.cause == "stopped":
            spent = self.verdict
            self.verdict = replace(self.give_up, usage=spent.usage, cost_usd=spent.cost_usd)
        models = event.get("modelUsage")
        windows = models.values() if isinstance(models, dict) else ()
        self.window = max(
            (count(m.get("contextWindow")) for m in windows if isinstance(m, dict)), default=0
        )
        self.verdict = replace(self.verdict, context=self.context, window=self.window)


def _blocks(event: dict[str, Any], block_type: str) -> list[dict[str, Any]]:
    message = event.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return []
    return [b for b in content if isinstance(b, dict) and b.get("type") == block_type]


def _ids(event: dict[str, Any], block_type: str, key: str) -> set[str]:
    return {str(block.get(key)) for block in _blocks(event, block_type)}
