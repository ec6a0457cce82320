"""Plays the steps of a script on the stage: real tools, real commands, real files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from .. import wake
from .journal import Journal, Played
from .script import Script, ScriptError, Step, fill
from .stage import Interrupted, Stage, ToolFailed

MAX_OUTPUT = 20_000  # characters of a command's output that are kept
LOOK_UP = 0.1  # seconds between looks for an interrupt while a command runs


class Player:
    """One session. `play` may be called with a turn that was cut before."""

    def __init__(self, stage: Stage, journal: Journal, script: Script) -> None:
        self._stage = stage
        self._journal = journal
        self._script = script
        self._used = ""  # the tool use of the step that is played
        self._fixed = {
            "name": os.environ.get("HIVE_NAME", ""),
            "role": os.environ.get("HIVE_ROLE", ""),
            "agents": os.environ.get("HIVE_AGENTS", "/agents"),
        }

    def play(self, turn: Played) -> None:
        """From the turn's next step to its result."""
        stage = self._stage
        stage.interrupted.clear()
        stage.init()
        stage.asks_model()
        said: list[str] = []
        try:
            self._steps(turn, said)
        except Interrupted:
            self._journal.over(turn)
            stage.result(turn.uuid, error="interrupted", reason="aborted_tools")
            return
        except (ToolFailed, ScriptError) as error:
            said.append(f"The rehearsal stops here: {error}")
            stage.say(said[-1])
        self._journal.over(turn)
        stage.result(turn.uuid, text="\n".join(said))

    def _steps(self, turn: Played, said: list[str]) -> None:
        if turn.rule is None and not self._choose(turn, said):
            return
        assert turn.rule is not None
        for number, step in enumerate(self._script.rules[turn.rule].steps):
            if number < turn.next_step:
                continue
            if self._stage.interrupted.is_set():
                raise Interrupted
            # The turn's own words win over the session's variables.
            variables = {**self._journal.variables, **self._fixed, **turn.found, **turn.saved}
            self._used = ""
            saved = self._do(step, variables, said)
            self._journal.step_done(turn, number, saved, self._used)

    def _choose(self, turn: Played, said: list[str]) -> bool:
        message = wake.read(turn.text)
        if message is None:
            said.append("I only rehearse messages.")
            return False
        chosen = self._script.match(message, {**self._fixed, **self._journal.variables})
        if chosen is None:
            said.append("No rule of the script fits this message.")
            return False
        self._journal.chose(turn, *chosen)
        return True

    def _do(self, step: Step, variables: dict[str, Any], said: list[str]) -> dict[str, Any]:
        match step.verb:
            case "say":
                said.append(fill(step.argument, variables))
                self._stage.say(said[-1])
                return {}
            case "set":
                self._journal.set(fill(step.argument, variables))
                return {}
            case "write":
                return self._write(step, variables)
            case "run":
                output = self._run(fill(step.argument, variables, quoted=True))
            case _:
                output = self._call(step.argument, fill(step.args, variables))
        return {step.save: _parsed(output)} if step.save else {}

    def _call(self, tool: str, arguments: Any) -> str:
        self._used = ident = self._stage.tool_use(f"mcp__hive__{tool}", arguments)
        try:
            text = self._stage.call(tool, arguments, ident)
        except ToolFailed as error:
            self._stage.tool_result(ident, str(error), ok=False)
            raise
        self._stage.tool_result(ident, text, ok=True)
        self._stage.asks_model()
        return text

    def _write(self, step: Step, variables: dict[str, Any]) -> dict[str, Any]:
        path, text = Path(fill(step.argument, variables)), fill(step.text, variables)
        ident = self._stage.tool_use("Write", {"file_path": str(path), "content": text})
        try:
            path.write_text(text)
        except OSError as error:
            self._stage.tool_result(ident, str(error), ok=False)
            raise ToolFailed(str(error)) from None
        self._stage.tool_result(ident, f"wrote {path}", ok=True)
        self._stage.asks_model()
        return {}

    def _run(self, command: str) -> str:
        ident = self._stage.tool_use("Bash", {"command": command})
        code, output = self._shell(command)
        self._stage.tool_result(ident, output, ok=code == 0)
        if code != 0:
            raise ToolFailed(f"a command ended with code {code}: {output[-500:]}")
        self._stage.asks_model()
        return output

    def _shell(self, command: str) -> tuple[int, str]:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        while True:
            try:
                output, _ = process.communicate(timeout=LOOK_UP)
            except subprocess.TimeoutExpired:
                if self._stage.interrupted.is_set():
                    os.killpg(process.pid, signal.SIGKILL)
                    process.communicate()
                    raise Interrupted from None
                continue
            return process.returncode, output.decode(errors="replace")[:MAX_OUTPUT].strip()


def _parsed(text: str) -> Any:
    """A tool's answer as an object when it is one, so that a script can say {saved.key}."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, dict) else text
