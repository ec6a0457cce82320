"""A question to the operator, from asked to answered, expired or withdrawn. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .permissions import Permission

TYPING_SECONDS = 60.0


class Unanswerable(Exception):
    """The answer does not fit the question; the words are for whoever answers."""


@dataclass(frozen=True, slots=True)
class Question:
    """`asked`, `expires` in unix seconds. An expired question may still be answered, late."""

    id: int
    uid: str
    text: str
    options: tuple[str, ...]
    multi: bool
    asked: float
    expires: float | None
    state: str = "open"
    answer: dict[str, Any] | None = None
    answered_by: str | None = None
    permission: Permission | None = None

    def answered(self, by: str, text: str | None, choices: Sequence[str]) -> Question:
        """The question with its answer. Raises Unanswerable."""
        if self.state in ("answered", "withdrawn"):
            who = f" by {self.answered_by}" if self.answered_by else ""
            raise Unanswerable(f"question {self.id} was {self.state}{who} already")
        if self.permission is not None:
            self._check_decision(choices)
        if not choices and not (text or "").strip():
            raise Unanswerable("an answer is a text, a choice, or both")
        unknown = [choice for choice in choices if choice not in self.options]
        if unknown:
            raise Unanswerable(
                f"{unknown[0][:80]!r} is no option of question {self.id}; "
                f"the options are: {', '.join(self.options) or 'none, answer with a text'}"
            )
        if len(set(choices)) > 1 and not self.multi:
            raise Unanswerable(f"question {self.id} takes one choice only")
        answer = {
            "text": text or "",
            "choices": list(dict.fromkeys(choices)),
            "late": self.state == "expired",
        }
        return replace(self, state="answered", answer=answer, answered_by=by)

    def _check_decision(self, choices: Sequence[str]) -> None:
        """The engine waits for a permission in the middle of a turn: a late one is useless."""
        if self.state == "expired":
            raise Unanswerable(f"the time for question {self.id} is up: it was denied")
        if len(set(choices)) != 1:
            raise Unanswerable(f"question {self.id} takes one choice: {', '.join(self.options)}")

    def expired(self) -> Question:
        return replace(self, state="expired")

    def withdrawn(self) -> Question:
        return replace(self, state="withdrawn")

    def typing(self, now: float) -> Question:
        """Somebody types at wall time `now`: it lives for at least 60 s more."""
        if self.expires is None or self.state != "open":
            return self
        return replace(self, expires=max(self.expires, now + TYPING_SECONDS))

    def extended(self, now: float, more: float) -> Question:
        """At wall time `now` it is given `more` seconds."""
        if self.expires is None or self.state != "open":
            return self
        return replace(self, expires=max(self.expires, now) + more)


def answer_text(question: Question) -> str:
    """What the asking agent reads."""
    answer = question.answer or {}
    parts = [*answer.get("choices", ()), *([answer["text"]] if answer.get("text") else ())]
    late = " (after the question had expired)" if answer.get("late") else ""
    return f"The operator answered question {question.id}{late}: {'; '.join(parts)}"
