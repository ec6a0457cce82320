"""The hive command: what it understands. Each command is imported only when it is called."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from hive_wire import dashboard_options
from hive_wire.paths import Layout, UnsafeDirectory

from .client import CallFailed

USAGE_ERROR = 64

_PROPOSAL = "its number"
_ALL = "without it: all"
_FOLLOW = "go on with what comes"

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction["_Parser"]  # noqa: SLF001 - it has no public name


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}\n{self.format_usage().strip()}", file=sys.stderr)
        raise SystemExit(USAGE_ERROR)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 done, 1 failed, 64 usage; 2 for changes with --detailed-exitcode."""
    options = _parsed(argv)
    layout = Layout.of(options.root)
    try:
        module, name = options.run.split(":")
        command = importlib.import_module(f"hive_reconciler.app.{module}")
        status: int = getattr(command, name)(layout, options)
        sys.stdout.flush()
    except (CallFailed, UnsafeDirectory) as error:
        print(f"hive: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # who reads us has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"hive: {where}{error.strerror or error}{_cure(error, layout)}", file=sys.stderr)
        return 1
    return status


def _cure(error: OSError, layout: Layout) -> str:
    """For who may not use the root."""
    closed = isinstance(error, PermissionError) and str(error.filename).startswith(str(layout.root))
    return "; use sudo, or a root of your own with --root" if closed else ""


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    top = parser()
    options = top.parse_args(argv)
    wrong = _contradiction(options)
    if wrong:
        top.error(wrong)
    return options


def _contradiction(options: argparse.Namespace) -> str | None:
    """What no single argument shows."""
    match options.command:
        case "up":
            return dashboard_options.contradiction(options)
        case "dead" if (options.action is None) != (options.id is None):
            return "hive dead retry ID, or hive dead drop ID"
        case "users" if (options.action is None) != (options.name is None):
            return f"which user? hive users {options.action} NAME"
        case "users" if options.view_only and options.action != "add":
            return "--view-only is for: hive users add NAME --view-only"
        case "reconcile" if options.rev is not None and not options.dry_run:
            return "--rev is for --dry-run: only what is merged is ever applied"
        case "answer" if not options.text and not options.choose:
            return "say something: hive answer ID TEXT, or hive answer ID --choose N"
    return None


def parser() -> argparse.ArgumentParser:
    top = _Parser(prog="hive", description="Agents in containers, by commits that a person merged.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _swarm(commands)
    _review(commands)
    _history(commands)
    _agents(commands)
    _messages(commands)
    _keeping(commands)
    return top


def _add(commands: Commands, name: str, run: str, help: str, json: bool = False) -> _Parser:
    command: _Parser = commands.add_parser(name, help=help, description=help)
    command.set_defaults(run=run)
    command.add_argument("--root", metavar="DIR", help="the root, if not this user's own")
    if json:
        command.add_argument("--json", action="store_true", help="print JSON")
    return command


def _swarm(commands: Commands) -> None:
    up = _add(commands, "up", "up:up", "run the swarm here, in the foreground")
    up.add_argument(
        "--runtime",
        choices=("auto", "nixos", "nspawn", "process"),
        default="auto",
        help="what runs containers; auto: nixos for root on NixOS, nspawn for root, else process",
    )
    up.add_argument(
        "--rehearse", action="store_true", help="a new root uses scripted agents: no account needed"
    )
    dashboard_options.add_options(up)
    up.add_argument(
        "--detach", action="store_true", help="return when it is ready, and write to logs/up.log"
    )
    _add(commands, "down", "down:down", "stop everything of this root")
    status = _add(commands, "status", "commands.swarm:status", "show all agents", json=True)
    status.add_argument("--wait", action="store_true", help="until all are ready and in sync")
    _add(commands, "doctor", "commands.swarm:doctor", "what this machine can do", json=True)
    login = _add(commands, "login", "commands.swarm:login", "print a one-time link to the page")
    login.add_argument("--user", metavar="NAME", help="who logs in, if not you")
    login.add_argument("--view-only", action="store_true", help="may look, not act")
    users = _add(commands, "users", "commands.users:users", "who may log in", json=True)
    users.add_argument("action", nargs="?", choices=("add", "remove"))
    users.add_argument("name", nargs="?", metavar="NAME")
    users.add_argument("--view-only", action="store_true", help="may look, not act (with add)")
    reconcile = _add(
        commands, "reconcile", "commands.swarm:reconcile", "make a round now", json=True
    )
    reconcile.add_argument("--dry-run", action="store_true", help="print the plan only")
    reconcile.add_argument("--rev", help="plan for this commit of hive.git (with --dry-run)")
    reconcile.add_argument(
        "--detailed-exitcode", action="store_true", help="2 when there is something to do"
    )


def _review(commands: Commands) -> None:
    proposals = _add(
        commands, "proposals", "commands.review:proposals", "what waits for a decision", json=True
    )
    proposals.add_argument("--all", action="store_true", help="decided ones, too")
    show = _add(commands, "show", "commands.review:show", "a proposal, its diff and effect", True)
    show.add_argument("n", type=_number, metavar="N", help=_PROPOSAL)
    approve = _add(commands, "approve", "commands.review:approve", "merge a proposal")
    approve.add_argument("n", type=_number, metavar="N", help=_PROPOSAL)
    approve.add_argument(
        "--expect",
        type=_digest,
        metavar="DIGEST",
        help="of the effect that you saw; then nobody is asked",
    )
    approve.add_argument(
        "--allow-prune", type=_number, metavar="COUNT", help="how many agents it may remove"
    )
    approve.add_argument(
        "--sign-with", metavar="KEY", help="your SSH key, one of [policy] signers in hive.toml"
    )
    deny = _add(commands, "deny", "commands.review:deny", "refuse a proposal")
    deny.add_argument("n", type=_number, metavar="N", help=_PROPOSAL)
    deny.add_argument("--reason", required=True, metavar="TEXT", help="its author reads it")
    withdraw = _add(commands, "withdraw", "commands.review:withdraw", "take a proposal back")
    withdraw.add_argument("n", type=_number, metavar="N", help=_PROPOSAL)


def _history(commands: Commands) -> None:
    _add(commands, "verify", "commands.history:verify", "prove the log of applied", json=True)
    accept = _add(commands, "accept", "commands.history:accept", "take over a rewritten history")
    accept.add_argument("oid", type=_commit, metavar="OID", help="7 to 40 digits of the commit")
    accept.add_argument("--reason", required=True, metavar="TEXT", help="kept for ever")
    revert = _add(commands, "revert", "commands.history:revert", "propose to undo a merge")
    revert.add_argument(
        "what", type=_merge, metavar="N|COMMIT", help="its proposal, or 7 to 40 digits of the merge"
    )
    revert.add_argument("--reason", default="", metavar="TEXT")
    rollback = _add(
        commands, "rollback", "commands.history:rollback", "propose an agent as it was once"
    )
    rollback.add_argument("name", metavar="NAME")
    rollback.add_argument("commit", type=_commit, metavar="COMMIT", help="of applied")
    rollback.add_argument("--reason", default="", metavar="TEXT")


def _agents(commands: Commands) -> None:
    spawn = _add(commands, "spawn", "commands.agents:spawn", "propose a new agent")
    spawn.add_argument("name", metavar="NAME")
    spawn.add_argument("--description", default="", metavar="TEXT")
    spawn.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help="a key of agent.toml; template=NAME takes one of [templates] in hive.toml",
    )
    for action, words in (
        ("start", "start an agent"),
        ("stop", "stop an agent after its turn"),
        ("restart", "restart an agent after its turn"),
    ):
        power = _add(commands, action, "commands.agents:power", words)
        power.add_argument("name", metavar="NAME")
        power.add_argument("--now", action="store_true", help="interrupt the running turn")
    retire = _add(commands, "retire", "commands.agents:retire", "propose to remove an agent")
    retire.add_argument("name", metavar="NAME")
    retire.add_argument("--reason", default="", metavar="TEXT")
    revive = _add(commands, "revive", "commands.agents:revive", "propose a retired agent again")
    revive.add_argument("name", metavar="NAME")
    purge = _add(
        commands, "purge", "commands.agents:purge", "remove for good what a retired agent left"
    )
    purge.add_argument("name", metavar="NAME", help="or its uid, where a name was used again")
    for action, words in (
        ("suspend", "take an agent, or all, out of the loop: nothing starts, stops or changes it"),
        ("pause", "deliver nothing to an agent, or to all"),
    ):
        stop = _add(commands, action, f"commands.holding:{action}", words)
        stop.add_argument("name", nargs="?", metavar="NAME", help=_ALL)
        stop.add_argument("--reason", required=True, metavar="TEXT")
    for action, words in (("resume", "end a suspension"), ("unpause", "deliver again")):
        go = _add(commands, action, f"commands.holding:{action}", words)
        go.add_argument("name", nargs="?", metavar="NAME", help=_ALL)
        go.add_argument("--reason", default="", metavar="TEXT")
    agent_login = _add(
        commands,
        "login-agent",
        "commands.agents:login",
        "log an agent with a network in to its model",
    )
    agent_login.add_argument("name", metavar="NAME")
    logs = _add(commands, "logs", "commands.agents:logs", "what a container printed")
    logs.add_argument("name", metavar="NAME")
    logs.add_argument("--follow", action="store_true", help=_FOLLOW)


def _messages(commands: Commands) -> None:
    send = _add(commands, "send", "commands.messages:send", "write to an agent or everyone")
    send.add_argument("to", metavar="TO", help="an agent's name, or everyone")
    send.add_argument("text", metavar="TEXT")
    inbox = _add(commands, "inbox", "commands.messages:inbox", "messages to the operator", True)
    inbox.add_argument("--follow", action="store_true", help=_FOLLOW)
    _add(commands, "questions", "commands.messages:questions", "what agents ask", json=True)
    answer = _add(commands, "answer", "commands.messages:answer", "answer a question")
    answer.add_argument("id", type=_number, metavar="ID", help="as hive questions says")
    answer.add_argument("text", nargs="?", metavar="TEXT", help="in your own words")
    answer.add_argument(
        "--choose",
        type=_number,
        action="append",
        default=[],
        metavar="N",
        help="an option by its number; again for more, where the question takes more",
    )
    dead = _add(commands, "dead", "commands.dead:dead", "messages that were given up", json=True)
    dead.add_argument(
        "action", nargs="?", choices=("retry", "drop"), help="try one again, or give it up"
    )
    dead.add_argument("id", nargs="?", type=_number, metavar="ID", help="as hive dead says")
    _add(commands, "top", "commands.top:top", "watch the swarm in this terminal")
    _add(commands, "mcp", "commands.mcp:mcp", "serve your own MCP client over stdio: read and send")
    flow = _add(commands, "flow", "commands.messages:flow", "all messages", json=True)
    flow.add_argument("--follow", action="store_true", help=_FOLLOW)


def _keeping(commands: Commands) -> None:
    backup = _add(commands, "backup", "commands.backup:backup", "copy everything of the swarm")
    backup.add_argument("dir", metavar="DIR", help="new, or empty")
    restore = _add(commands, "restore", "commands.restore:restore", "make a root of a backup")
    restore.add_argument("dir", metavar="DIR", help="what hive backup wrote")


def _number(text: str) -> int:
    if not re.fullmatch("0*[1-9][0-9]{0,17}", text):
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is no number from 1 on, of 18 digits at most"
        )
    return int(text)


def _commit(text: str) -> str:
    if not re.fullmatch("[0-9a-fA-F]{7,40}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no commit of 7 to 40 hex digits")
    return text.lower()


def _digest(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no digest of 64 hex digits; see: hive show")
    return text


def _merge(text: str) -> int | str:
    """Fewer than 7 digits are the number of a proposal."""
    return _number(text) if text.isdigit() and len(text) < 7 else _commit(text)


if __name__ == "__main__":
    sys.exit(main())
