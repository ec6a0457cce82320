{
  lib,
  nixpkgs,
  pkgs,
  self,
  hive,
}:
let
  skew = import ./skew.nix {
    inherit lib;
    inherit (hive) libraries python;
    lockFile = ../requirements.lock;
  };

  # Evaluates a configuration as far as its derivation, without building it.
  evaluates =
    name: toplevel:
    pkgs.writeText "evaluates-${name}" (builtins.unsafeDiscardStringContext toplevel.drvPath);

  host = nixpkgs.lib.nixosSystem {
    modules = [
      self.nixosModules.hive-c0re
      {
        nixpkgs.hostPlatform = pkgs.stdenv.hostPlatform.system;
        boot.loader.grub.enable = false;
        fileSystems."/".device = "tmpfs";
        fileSystems."/".fsType = "tmpfs";
        system.stateVersion = "26.05";
        services.hive-c0re.enable = true;
      }
    ];
  };

  swarm = self.lib.mkSwarm {
    src = ../templates/swarm;
    inherit (pkgs.stdenv.hostPlatform) system;
  };

  testPython = hive.python.withPackages (
    ps:
    lib.attrValues hive.libraries
    ++ [
      ps.blockbuster
      ps.hypothesis
      ps.playwright # imported, not run
      ps.pytest
      ps.pytest-aiohttp
      ps.pytest-asyncio
      ps.pytest-timeout
    ]
  );

  # Fails when a package of one of these names is in the closure.
  closureWithout =
    program: names:
    pkgs.runCommand "closure-${program}"
      { closure = pkgs.closureInfo { rootPaths = [ hive.packages.${program} ]; }; }
      ''
        if grep -E -- '-(${lib.concatStringsSep "|" names})-[0-9]' $closure/store-paths; then
          echo "${program} must not depend on these" >&2
          exit 1
        fi
        cp $closure/store-paths $out
      '';
in
lib.mapAttrs' (program: names: {
  name = "closure-${program}";
  value = closureWithout program names;
}) (import ./closures.nix)
// {
  versions =
    pkgs.runCommand "versions"
      {
        inherit (skew) table;
        problems = lib.concatLines skew.problems;
      }
      ''
        printf 'package\tat least\tnixpkgs\tlocked\n%s' "$table" | tee $out
        if [ -n "$problems" ]; then
          printf '%s' "$problems" >&2
          exit 1
        fi
      '';

  module-host = evaluates "host" host.config.system.build.toplevel;
  module-agent = evaluates "agent" swarm.hm1nd.config.system.build.toplevel;

  unit =
    pkgs.runCommand "unit"
      {
        nativeBuildInputs = [
          testPython
          pkgs.cacert # libgit2 does not load without
          pkgs.gitMinimal
          pkgs.openssh
          pkgs.util-linux
        ];
      }
      ''
        cp -r ${self} source
        chmod -R u+w source
        cd source
        export HOME=$TMPDIR
        # nixos-26.05 has no schemathesis.
        pytest -p no:cacheprovider --ignore tests/nix --ignore tests/dashboard/test_api.py \
          -m 'not root and not browser and not cli and not slow'
        touch $out
      '';

  nixos = import ../tests/nix/vm.nix { inherit nixpkgs pkgs self; };
  nixos-container = import ../tests/nix/container.nix { inherit pkgs self; };
}
