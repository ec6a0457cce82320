"""What NixOS makes of systemd, users and tmpfiles settings: files under etc/ of a system.

etc.py CONFIGURATION.json SYSTEM: as far as our modules use these settings.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

PATH = "/run/current-system/sw/bin:/usr/bin:/usr/sbin:/bin:/sbin"


def main(configuration: Path, system: Path) -> None:
    config = json.loads(configuration.read_text())
    etc = system / "etc"
    for name, unit in config["systemd"]["services"].items():
        _service(etc / "systemd/system", name, unit)
    _write(etc / "sysusers.d/nixos.conf", _users(config["users"]))
    _write(etc / "tmpfiles.d/nixos.conf", _tmpfiles(config["systemd"]["tmpfiles"]["settings"]))
    programs = system / "sw/bin"
    programs.mkdir(parents=True)
    for package in config["environment"]["systemPackages"]:
        if not (Path(package) / "bin").is_symlink():
            for program in (Path(package) / "bin").iterdir():
                (programs / program.name).symlink_to(program)


def _service(units: Path, name: str, unit: dict[str, Any]) -> None:
    """A unit, or a drop-in where only settings of another's template are given."""
    whole = "ExecStart" in unit["serviceConfig"]
    file = f"{name}.service" if whole else f"{name}.service.d/overrides.conf"
    _write(units / file, _lines(unit))
    for target in unit.get("wantedBy", ()):
        wants = units / f"{target}.wants"
        wants.mkdir(parents=True, exist_ok=True)
        (wants / f"{name}.service").symlink_to(f"../{name}.service")


def _lines(unit: dict[str, Any]) -> Iterator[str]:
    yield "[Unit]"
    yield from _settings({"Description": unit.get("description", []), **unit.get("unitConfig", {})})
    yield from _settings({"Before": unit.get("before", []), "After": unit.get("after", [])})
    yield "[Service]"
    yield from _settings(unit["serviceConfig"])
    environment = {"PATH": PATH, **unit.get("environment", {})}
    yield from (f'Environment="{key}={value}"' for key, value in environment.items())


def _settings(settings: dict[str, Any]) -> Iterator[str]:
    for key, value in settings.items():
        for one in value if isinstance(value, list) else [value]:
            yield f"{key}={str(one).lower() if isinstance(one, bool) else one}"


def _users(users: dict[str, Any]) -> Iterator[str]:
    for name in users["groups"]:
        yield f"g {name} -"
    for name, user in users["users"].items():
        yield f'u {name} - "{user.get("description", name)}"'
    for name, group in users["groups"].items():
        yield from (f"m {member} {name}" for member in group.get("members", ()))


def _tmpfiles(settings: dict[str, Any]) -> Iterator[str]:
    for paths in settings.values():
        for path, kinds in paths.items():
            for kind, entry in kinds.items():
                owner = f"{entry.get('user', '-')} {entry.get('group', '-')}"
                argument = entry.get("argument", "")
                yield f"{kind} {path} {entry.get('mode', '-')} {owner} - {argument}"


def _write(file: Path, lines: Iterable[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines))


main(Path(sys.argv[1]), Path(sys.argv[2]))
