"""A host with nix for the reconciler's checks: programs on PATH, a store, and a fake hyperhive.

The flake stands in for hyperhive's: `lib.mkSwarm` makes of each agent.nix a system with packages
and units, without nixpkgs.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hive_reconciler.runtime.nix_eval import Evaluator
from hive_reconciler.runtime.nixos_build import Identity

from .nix_env import CONFIG, unpacked_tree

NOBODY = Identity(65534, 65534)
_FLAKE = """{
  outputs = { self }: {
    lib.mkSwarm = { src, system }:
      let
        make = name: more: derivation ({
          inherit name system;
          builder = "/bin/sh";
          args = [ "-c" "echo > $out" ];
        } // more);
        pkg = pname: version: make "${pname}-${version}" { } // { inherit pname version; };
        one = name:
          let
            agent = import (src + "/agents/${name}/agent.nix") {
              inherit pkg;
              pkgs.git = pkg "git" "2.0";
            };
            packages = agent.environment.systemPackages or [ ];
            units = agent.systemd.units or { };
            role = (fromTOML (builtins.readFile (src + "/agents/${name}/agent.toml"))).role or "";
          in
          {
            name = if role == "manager" then name else "h-${name}";
            value.config = {
              environment.systemPackages = packages;
              systemd.units = units;
              system.build.toplevel = make "nixos-system-${name}" {
                inherit packages;
                units = builtins.toJSON units;
              };
            };
          };
      in
      builtins.listToAttrs (map one (builtins.attrNames (builtins.readDir (src + "/agents"))));
  };
}
"""
GLUE = """{
  inputs.hyperhive.url = "flake:hyperhive";
  outputs = { hyperhive, ... }: {
    nixosConfigurations = hyperhive.lib.mkSwarm { src = ./.; system = "SYSTEM"; };
  };
}
""".replace("SYSTEM", f"{platform.machine()}-linux")


@dataclass(frozen=True)
class NixHost:
    programs: Path  # for PATH
    hyperhive: Path
    log: Path  # one line for each run of nix: who ran it

    def evaluator(self, hive_git: Path, work: Path) -> Evaluator:
        work.mkdir(parents=True, exist_ok=True)
        for folder in (work, *work.parents):
            if folder.name.startswith("ht-"):
                folder.chmod(0o711)
        return Evaluator(
            hive_git,
            work,
            f"path:{self.hyperhive}",
            identity=NOBODY if os.geteuid() == 0 else None,
        )


def _link(source: str, target: str) -> None:
    """The cache may lie in a home that nobody else may enter."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


@contextmanager
def nix_host() -> Iterator[NixHost]:
    """Raises NixUnavailable. Everything lies where nobody may read it."""
    base = Path(tempfile.mkdtemp(prefix="hn-"))
    try:
        base.chmod(0o755)
        tree = base / "tree"
        shutil.copytree(unpacked_tree(), tree, symlinks=True, copy_function=_link)
        hyperhive, programs, log = base / "hyperhive", base / "bin", base / "log"
        for folder in (hyperhive, programs, base / "store"):
            folder.mkdir()
        (base / "store").chmod(0o777)
        (hyperhive / "flake.nix").write_text(_FLAKE)
        log.touch()
        log.chmod(0o666)
        binds = f"--bind {base}/store /nix --ro-bind {hyperhive} {hyperhive}"
        for name in ("nix", "nix-store"):
            program = programs / name
            program.write_text(
                "#!/bin/sh\n"
                f'echo "$(id -u) $(ip -o link | grep -vc LOOPBACK)" >> {log}\n'
                f'export NIX_CONFIG="{CONFIG}"\n'
                "export PATH=/usr/bin:/bin\n"
                f"exec bwrap --ro-bind {tree}/usr /usr --symlink usr/bin /bin "
                "--symlink usr/lib /lib --symlink usr/lib64 /lib64 "
                f"--ro-bind {tree}/etc /etc --proc /proc --dev /dev --tmpfs /tmp {binds} "
                f'--bind "$TMPDIR" "$TMPDIR" --unshare-all --die-with-parent {name} "$@"\n'
            )
            program.chmod(0o755)
        yield NixHost(programs, hyperhive, log)
    finally:
        shutil.rmtree(base, ignore_errors=True)
