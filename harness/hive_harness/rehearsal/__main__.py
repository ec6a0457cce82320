"""`python -m hive_harness.rehearsal`: an engine without a model, without a network.

It takes the flags of the claude CLI that the harness gives, and speaks the same protocol.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from .journal import Journal, Played
from .player import Player
from .script import Script, ScriptError, parse
from .stage import Stage

SHIPPED = Path(__file__).parent.parent / "rehearsal_scripts"


def load_script() -> Script:
    """The script of people for this agent, theirs for its role, or ours. Raises ScriptError."""
    theirs = Path(os.environ["HIVE_SCRIPTS"])
    name, role = (f"{os.environ[key]}.toml" for key in ("HIVE_NAME", "HIVE_ROLE"))
    places = (theirs / name, theirs / role)
    path = next((place for place in places if place.exists()), SHIPPED / role)
    try:
        return parse(path.read_text(), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise ScriptError(f"{path}: {error}") from None


def main() -> int:
    options = argparse.ArgumentParser(prog="hive-rehearsal", allow_abbrev=False)
    session = options.add_mutually_exclusive_group(required=True)
    session.add_argument("--resume")
    session.add_argument("--session-id")
    given, _ = options.parse_known_args()
    ident = given.resume or given.session_id
    journal = Journal(Path(os.environ["CLAUDE_CONFIG_DIR"]), ident)
    stage = Stage(ident)
    cut = journal.cut()
    if cut is not None and os.environ.get("CLAUDE_CODE_RESUME_INTERRUPTED_TURN") == "1":
        _play(stage, journal, cut)
    while (line := stage.users.get()) is not None:
        user, text = line
        turn = journal.turns.get(user)
        if turn is not None and turn.over:
            stage.lifecycle(user, "completed")
            stage.rests()
            continue
        _play(stage, journal, turn or journal.take(user, text))
    return 0


def _play(stage: Stage, journal: Journal, turn: Played) -> None:
    try:
        script = load_script()  # anew each time: people change it while they practise
    except ScriptError as error:
        journal.over(turn)
        stage.result(turn.uuid, error=str(error))
        return
    Player(stage, journal, script).play(turn)


if __name__ == "__main__":
    sys.exit(main())
