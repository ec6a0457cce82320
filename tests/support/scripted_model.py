"""A model for the fake Messages API that plays rehearsal scripts through the real CLI's tools.

It reads what any model reads, system prompt and conversation, and answers with tool calls.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from support.fake_messages_api import Call, Request, Step

from hive_harness import wake
from hive_harness.rehearsal.script import Script, fill, parse

WHO = re.compile(r"You are (?P<name>\S+), (?P<role>the manager|a member) of a swarm")


@dataclass
class Turn:
    """One waking message: its rule, what was saved, and the answers given so far."""

    rule: int | None
    found: dict[str, Any]
    saved: dict[str, Any] = field(default_factory=dict)
    next_step: int = 0
    save_as: str = ""
    answers: dict[int, Step] = field(default_factory=dict)  # by results seen


class ScriptedModel:
    """Call it with a request. The same request again gets the same answer."""

    def __init__(self) -> None:
        folder = resources.files("hive_harness") / "rehearsal_scripts"
        self._scripts: dict[str, Script] = {
            role: parse((folder / f"{role}.toml").read_text(), role)
            for role in ("manager", "agent")
        }
        self._variables: dict[str, dict[str, Any]] = {}
        self._turns: dict[tuple[str, int], Turn] = {}

    def __call__(self, request: Request) -> Step:
        who = WHO.search(request.system)
        prompt, results = _conversation(request)
        message = wake.read(prompt) if prompt else None
        if who is None or message is None:
            return Step(text="done")
        name, script = (
            who["name"],
            self._scripts["manager" if "manager" in who["role"] else "agent"],
        )
        session = self._variables.setdefault(name, {})
        fixed = {"name": name, "role": who["role"], "agents": "/agents"}
        turn = self._turns.get((name, message.id))
        if turn is None:
            rule, found = script.match(message, {**fixed, **session}) or (None, {})
            turn = self._turns[name, message.id] = Turn(rule, found)
        if len(results) not in turn.answers:
            if turn.save_as:
                turn.saved[turn.save_as] = _parsed(results[-1])
            turn.answers[len(results)] = self._answer(script, turn, session, fixed)
        return turn.answers[len(results)]

    def _answer(
        self, script: Script, turn: Turn, session: dict[str, Any], fixed: dict[str, Any]
    ) -> Step:
        """Words up to the next step that needs a tool."""
        said: list[str] = []
        steps = script.rules[turn.rule].steps if turn.rule is not None else ()
        turn.save_as = ""
        for step in steps[turn.next_step :]:
            turn.next_step += 1
            known = {**session, **fixed, **turn.found, **turn.saved}
            match step.verb:
                case "say":
                    said.append(fill(step.argument, known))
                    continue
                case "set":
                    session.update(fill(step.argument, known))
                    continue
                case "run":
                    command = fill(step.argument, known, quoted=True)
                    call = Call("Bash", {"command": f"(\n{command}\n)"})
                case "write":
                    path, text = fill(step.argument, known), fill(step.text, known)
                    line = f"printf %s {shlex.quote(text)} > {shlex.quote(str(path))}"
                    call = Call("Bash", {"command": line})
                case _:
                    call = Call(f"mcp__hive__{step.argument}", fill(step.args, known))
            turn.save_as = step.save
            return Step(text="\n".join(said) or None, calls=(call,))
        return Step(text="\n".join(said) or "done")


def _conversation(request: Request) -> tuple[str, list[str]]:
    """The last waking message, and the results of tools after it."""
    prompt, results = "", list[str]()
    for message in request.body.get("messages") or ():
        if message["role"] != "user":
            continue
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for block in blocks:
            text = block.get("text", "")
            if block["type"] == "text" and text.startswith("[hive] message "):
                prompt, results = text, []
            elif block["type"] == "tool_result":
                results.append(_text(block.get("content")))
    return prompt, results


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content.strip()
    return "\n".join(block.get("text", "") for block in content or ()).strip()


def _parsed(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, dict) else text
