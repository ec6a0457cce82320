"""How a turn ended, judged by the fields of the engine's events and never by their text."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

COUNTED = frozenset(
    {"model_error", "prompt_too_long", "refused", "max_turns", "invalid_request", "loop"}
)
MAX_DETAIL = 2000
# What the broker takes of an engine's claims: more is no turn's.
MOST, MOST_USD, LATEST = (1 << 53) - 1, 999_999_999.0, 9e10

_BY_STATUS = {401: "auth", 403: "auth", 402: "billing", 429: "rate_limit", 529: "overloaded"}
_BY_ERROR = {
    "authentication_failed": "auth",
    "rate_limit": "rate_limit",
    "overloaded": "overloaded",
    "server_error": "server_error",
    "billing_error": "billing",
    "invalid_request": "invalid_request",
    "model_not_found": "model_error",
}


@dataclass(frozen=True)
class Usage:
    """Tokens of one turn."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0


@dataclass(frozen=True)
class Verdict:
    """The end of a turn; `cause` is one of docs/protocol.md, "" when it is ok."""

    outcome: str
    cause: str = ""
    detail: str = ""
    retry_at: float | None = None
    discarded: bool = False
    usage: Usage = field(default_factory=Usage)
    cost_usd: float = 0.0
    duration_ms: int = 0
    context: int = 0  # tokens that the model last read and wrote
    window: int = 0  # tokens that it can; 0: unknown

    @property
    def counted(self) -> bool:
        return self.outcome == "failed" and self.cause in COUNTED

    def with_owed(self, cost_usd: float, usage: Usage) -> Verdict:
        """The verdict that claims also what was used outside of turns."""
        total = {key: value + getattr(usage, key) for key, value in vars(self.usage).items()}
        return replace(self, usage=Usage(**total), cost_usd=self.cost_usd + cost_usd)

    def as_turn_end(
        self, turn: str, session: str | None, unseen: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """The `TurnEnd` of docs/protocol.md."""
        return {
            **({"unseen": list(unseen)} if unseen else {}),  # no older broker knows it
            "turn": turn,
            "outcome": self.outcome,
            "counted": self.counted,
            "cause": self.cause,
            "detail": self.detail[:MAX_DETAIL],
            "retry_at": self.retry_at,
            "session": session,
            "discarded": self.discarded,
            "usage": {key: min(value, MOST) for key, value in vars(self.usage).items()},
            "cost_usd": min(round(self.cost_usd, 9), MOST_USD),
            "duration_ms": min(self.duration_ms, MOST),
            "context": min(self.context, MOST),
            "window": min(self.window, MOST),
        }


@dataclass
class Evidence:
    """What was seen of a turn before its result."""

    error: str = ""  # `error` of the last assistant event
    reset_at: float | None = None  # unix seconds, from a rejected rate limit


def failed(cause: str, detail: str, retry_at: float | None = None) -> Verdict:
    return Verdict("failed", cause, detail, retry_at)


def of_result(result: dict[str, Any], evidence: Evidence, cost_before: float) -> Verdict:
    """The verdict on a turn that printed `result`.

    `cost_before` is the cumulative cost that the same process reported last, in USD.
    """
    usage = _usage(result.get("usage"))
    cost = _cost(result, cost_before)
    duration = max(0, count(result.get("duration_ms")))
    if not result.get("is_error") and result.get("subtype") == "success":
        return Verdict("ok", usage=usage, cost_usd=cost, duration_ms=duration)
    cause = _cause(result, evidence)
    retry_at = evidence.reset_at if cause == "rate_limit" else None
    return Verdict("failed", cause, _detail(result), retry_at, False, usage, cost, duration)


def _cause(result: dict[str, Any], evidence: Evidence) -> str:
    terminal, subtype = result.get("terminal_reason"), result.get("subtype")
    if isinstance(terminal, str) and terminal.startswith("aborted"):
        return "stopped"
    if subtype == "error_max_turns" or terminal == "max_turns":
        return "max_turns"
    if terminal in ("prompt_too_long", "blocking_limit"):
        return "prompt_too_long"
    if result.get("stop_reason") == "refusal":
        return "refused"
    if evidence.error == "billing_error":  # comes with status 400
        return "billing"
    status = result.get("api_error_status")
    if isinstance(status, int):
        if status in _BY_STATUS:
            return _BY_STATUS[status]
        if status >= 500:
            return "server_error"
        if status in (400, 413):
            return "invalid_request"
    if evidence.error in _BY_ERROR:
        return _BY_ERROR[evidence.error]
    if evidence.error:  # no status and no name for it: the API was not reached
        return "server_error"
    return "model_error"


def _detail(result: dict[str, Any]) -> str:
    text = result.get("result")
    if not text:
        errors = result.get("errors")
        text = "; ".join(map(str, errors)) if isinstance(errors, list) else ""
    return str(text or result.get("terminal_reason") or result.get("subtype") or "")[:MAX_DETAIL]


def _usage(raw: Any) -> Usage:
    if not isinstance(raw, dict):
        return Usage()
    return Usage(
        count(raw.get("input_tokens")),
        count(raw.get("output_tokens")),
        count(raw.get("cache_read_input_tokens")),
        count(raw.get("cache_creation_input_tokens")),
    )


def _cost(result: dict[str, Any], before: float) -> float:
    """USD of this turn. One version says it; the other's total is cumulative per process."""
    models = result.get("model_usage_since_last_result")
    if isinstance(models, dict):
        return sum(_float(m.get("costUSD")) for m in models.values() if isinstance(m, dict))
    return max(0.0, _float(result.get("total_cost_usd")) - before)


def count(value: Any) -> int:
    """A number of the engine's; 0 for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _float(value: Any) -> float:
    is_number = isinstance(value, int | float) and value >= 0
    return float(min(value, MOST_USD)) if is_number else 0.0
