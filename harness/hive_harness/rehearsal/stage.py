"""The pipes of the rehearsal engine: the same stream-json that the claude CLI speaks."""

from __future__ import annotations

import itertools
import json
import queue
import sys
import threading
import uuid
from typing import Any

Event = dict[str, Any]

USAGE = {
    "input_tokens": 0,
    "output_tokens": 0,
    "cache_read_input_tokens": 0,
    "cache_creation_input_tokens": 0,
}


class Interrupted(Exception):
    """The harness ends the turn."""


class ToolFailed(Exception):
    """A tool answered with an error; the message is what it said."""


class Stage:
    """A thread reads; `users` holds (uuid, text) lines and None at the end of input."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.users: queue.Queue[tuple[str, str] | None] = queue.Queue()
        self.interrupted = threading.Event()
        self._answers: queue.Queue[Event] = queue.Queue()
        self._ids = itertools.count(1)
        self._out = threading.Lock()
        self._tools_ready = False
        threading.Thread(target=self._read, daemon=True).start()

    # -- what is printed -------------------------------------------------------

    def init(self) -> None:
        servers = [{"name": "hive", "status": "connected"}]
        self._system("init", model="rehearsal", mcp_servers=servers, tools=["Bash", "Write"])

    def asks_model(self) -> None:
        """Where the real engine would send a request with all it has."""
        event = {"type": "message_start", "message": {"model": "rehearsal"}}
        self._print({"type": "stream_event", "event": event})

    def say(self, text: str) -> None:
        self._assistant({"type": "text", "text": text})

    def tool_use(self, name: str, arguments: Any) -> str:
        ident = f"toolu_{uuid.uuid4().hex[:16]}"
        self._assistant({"type": "tool_use", "id": ident, "name": name, "input": arguments})
        return ident

    def tool_result(self, ident: str, text: str, *, ok: bool) -> None:
        block = {"type": "tool_result", "tool_use_id": ident, "content": text, "is_error": not ok}
        self._print({"type": "user", "message": {"role": "user", "content": [block]}})

    def result(self, user: str, *, text: str = "", error: str = "", reason: str = "") -> None:
        fine = not error
        self._print(
            {
                "type": "result",
                "subtype": "success" if fine else "error_during_execution",
                "is_error": not fine,
                "terminal_reason": reason or ("completed" if fine else "model_error"),
                "stop_reason": "end_turn" if fine else None,
                **({"result": text} if fine else {"errors": [error]}),
                "num_turns": 1,
                "duration_ms": 0,
                "total_cost_usd": 0,
                "usage": USAGE,
                "user_message_uuid": user,
            }
        )
        self.lifecycle(user, "completed")

    def rests(self) -> None:
        """There was nothing to do."""
        self._system("session_state_changed", state="idle")

    def lifecycle(self, user: str, state: str) -> None:
        self._print({"type": "command_lifecycle", "command_uuid": user, "state": state})

    # -- the hive tools --------------------------------------------------------

    def call(self, tool: str, arguments: Any, use: str) -> str:
        """What a hive tool answers; `use` is the id of the `tool_use`.

        Raises ToolFailed, Interrupted.
        """
        if not self._tools_ready:
            hello = {"protocolVersion": "2025-06-18", "capabilities": {}}
            info = {"name": "rehearsal", "version": "1"}
            self._mcp("initialize", {**hello, "clientInfo": info})
            self._mcp("notifications/initialized", None)
            self._tools_ready = True
        meta = {"claudecode/toolUseId": use}
        answer = self._mcp("tools/call", {"name": tool, "arguments": arguments, "_meta": meta})
        if "error" in answer:
            raise ToolFailed(str(answer["error"].get("message")))
        result = answer.get("result") or {}
        blocks = result.get("content") or []
        text = "\n".join(block.get("text", "") for block in blocks)
        if result.get("isError"):
            raise ToolFailed(text)
        return text

    # -- inside ----------------------------------------------------------------

    def _mcp(self, method: str, params: Any) -> Event:
        ident = f"r{next(self._ids)}"
        message: Event = {"jsonrpc": "2.0", "method": method}
        if params is not None:
            message |= {"id": ident, "params": params}
        request = {"subtype": "mcp_message", "server_name": "hive", "message": message}
        self._print({"type": "control_request", "request_id": ident, "request": request})
        while True:
            if self.interrupted.is_set():
                raise Interrupted
            try:
                response = self._answers.get(timeout=0.5)
            except queue.Empty:
                continue
            if response.get("request_id") == ident:
                answer: Event = (response.get("response") or {}).get("mcp_response") or {}
                return answer

    def _assistant(self, block: Event) -> None:
        message = {"role": "assistant", "model": "rehearsal", "content": [block]}
        self._print({"type": "assistant", "message": message, "parent_tool_use_id": None})

    def _system(self, subtype: str, **fields: Any) -> None:
        self._print({"type": "system", "subtype": subtype, **fields})

    def _print(self, event: Event) -> None:
        line = json.dumps({**event, "session_id": self.session, "uuid": str(uuid.uuid4())})
        with self._out:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def _read(self) -> None:
        for line in sys.stdin:
            self._take(json.loads(line))
        self.users.put(None)

    def _take(self, event: Event) -> None:
        match event:
            case {"type": "control_request", "request_id": ident, "request": request}:
                if request.get("subtype") == "interrupt":
                    self.interrupted.set()
                answer = {"subtype": "success", "request_id": ident, "response": {}}
                self._print({"type": "control_response", "response": answer})
            case {"type": "control_response", "response": response}:
                self._answers.put(response)
            case {"type": "user", "uuid": user, "message": {"content": str(text)}}:
                self.lifecycle(user, "queued")
                self.users.put((user, text))
