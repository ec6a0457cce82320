"""What of the host's software runs inside containers, and how it gets there. These block."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from . import userland
from .base import Bind, Finding

COMPILE_SECONDS = 60.0
OLDEST = (3, 11)
HIVE = Path("/opt/hive")
CLAUDE = Path("/opt/claude/claude")
PACKAGES = ("hive_harness", "hive_wire")
_ELF = b"\x7fELF"


CLAUDE_VARIABLE = "HIVE_CLAUDE"
CLAUDE_CURE = "npm install -g @anthropic-ai/claude-code, or set HIVE_CLAUDE to its binary"


class NoTool(Exception):
    """Something that containers need is not on this machine; the message says the cure."""

    def __init__(self, problem: str, cure: str = "") -> None:
        super().__init__(f"{problem}: {cure}" if cure else problem)
        self.problem = problem


@cache
def interpreter_binds() -> tuple[tuple[str, ...], tuple[Bind, ...]]:
    """(argv prefix, binds) of a Python ≥ 3.11 inside: the userland's, else the running one."""
    system = userland.program("python3")
    if _version(system) >= OLDEST:
        return (str(userland.INSIDE / "bin/python3"),), ()
    prefix = Path(os.path.realpath(sys.base_prefix))
    binary = prefix / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    if not binary.exists():
        raise NoTool(f"no Python for containers: {system} is too old and {binary} is missing")
    return (str(binary),), (_read_only(prefix, prefix),)


def harness_binds() -> tuple[tuple[tuple[str, str], ...], tuple[Bind, ...]]:
    """(environment, binds) of the harness's code: its two packages and nothing beside them."""
    binds = []
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        places = None if spec is None else spec.submodule_search_locations
        if not places:
            raise NoTool(f"the package {package} is not installed beside the reconciler")
        source = Path(os.path.realpath(next(iter(places))))
        binds.append(_read_only(source, HIVE / package))
    environment = (("PYTHONPATH", str(HIVE)), ("PYTHONDONTWRITEBYTECODE", "1"))
    return environment, tuple(binds)


def compile_harness() -> None:
    """Bytecode beside the harness's sources, which no container may write: without it each one
    compiles them anew at its start. Where we may not write either, they do."""
    if sys.dont_write_bytecode:
        return
    prefix, _ = interpreter_binds()
    _, binds = harness_binds()
    folders = [str(bind.source) for bind in binds]
    subprocess.run(
        [*prefix, "-I", "-S", "-m", "compileall", "-q", *folders],
        capture_output=True,
        check=False,
        timeout=COMPILE_SECONDS,
    )


def claude_binds(path: Path) -> tuple[Bind, ...]:
    """The Claude Code CLI at /opt/claude/claude: the one binary, not the directory around it."""
    real = Path(os.path.realpath(path))
    if not real.is_file():
        raise NoTool(f"no Claude Code CLI at {path}", CLAUDE_CURE)
    with real.open("rb") as file:
        magic = file.read(4)
    if magic == _ELF or userland.in_store(real):
        return (_read_only(real, CLAUDE),)
    for found in _beside(real):  # npm's launcher is a script; the binary is a package of its own
        return (_read_only(found, CLAUDE),)
    raise NoTool(f"{real} is a script and the CLI's binary is not beside it", CLAUDE_CURE)


def claude_finding(*, needed: bool) -> Finding:
    """The CLI, for `hive doctor`. Where no agent's engine is it, none needs to be here."""
    what = "Claude Code CLI"
    try:
        binary = _claude()
        return Finding(True, what, f"{_claude_version(binary)} at {binary}")
    except NoTool as error:
        problem = error.problem
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if needed:
        return Finding(False, what, problem, CLAUDE_CURE)
    return Finding(True, what, f'{problem}; only engine "claude" needs it: {CLAUDE_CURE}')


def _claude() -> Path:
    """Where it is. Raises NoTool, OSError."""
    given = os.environ.get(CLAUDE_VARIABLE)
    found = given or shutil.which("claude")
    if not found:
        raise NoTool("not on this machine", CLAUDE_CURE)
    try:
        (bind,) = claude_binds(Path(found))
    except NoTool as error:
        raise NoTool(f"{CLAUDE_VARIABLE}: {error.problem}" if given else error.problem) from None
    return bind.source


def _claude_version(binary: Path) -> str:
    """In its own words. Raises OSError, TimeoutExpired."""
    done = subprocess.run(
        [binary, "--version"],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=30,
    )
    return done.stdout.strip().partition("\n")[0][:100] or f"of no version ({done.returncode})"


def _beside(script: Path) -> list[Path]:
    for folder in script.parents:
        scopes = (folder / "node_modules" / "@anthropic-ai", folder / "@anthropic-ai")
        for scope in scopes:
            found = [f for f in sorted(scope.glob("claude-code-linux-*/claude")) if _runs(f)]
            if found:
                return found
        if folder.name == "node_modules":
            break
    return []


def _runs(binary: Path) -> bool:
    """Whether its platform is ours: several may be installed side by side."""
    done = subprocess.run([binary, "--version"], capture_output=True, check=False, timeout=30)
    return done.returncode == 0


def _version(python: str) -> tuple[int, ...]:
    code = "import sys; print(*sys.version_info[:2])"
    try:
        done = subprocess.run(
            [python, "-I", "-S", "-c", code], capture_output=True, check=False, timeout=30
        )
        return tuple(int(part) for part in done.stdout.split())
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return ()


def _read_only(source: Path, target: Path) -> Bind:
    """Root inside is nobody outside: what others may not read is shown as its own."""
    mode = 0o005 if source.is_dir() else 0o004
    readable = source.stat().st_mode & mode == mode
    return Bind(source, target, read_only=True, idmap=not readable)
