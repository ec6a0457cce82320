# Every distribution as a library of one Python, and as an application with a closure of its own.
{ lib, pkgs }:
let
  python = pkgs.python3.override { packageOverrides = import ./python; };

  libraries =
    lib.genAttrs
      [
        "wire"
        "broker"
        "gateway"
        "harness"
        "reconciler"
        "dashboard"
      ]
      (
        name:
        import ./distribution.nix {
          inherit lib python;
          directory = ./.. + "/${name}";
          siblings = lib.mapAttrs' (sibling: lib.nameValuePair "hive-${sibling}") libraries;
        }
      );

  application = arguments: import ./application.nix ({ inherit lib pkgs python; } // arguments);

  # What the reconciler and `hive up` start besides Python.
  hostTools = [
    pkgs.bubblewrap
    pkgs.gitMinimal
    pkgs.gnutar
    pkgs.iproute2
    pkgs.nftables
    pkgs.openssh
    pkgs.systemd
    pkgs.util-linux
  ];

  # What `hive up` has in its containers in place of the host's /usr, and runs them with.
  userland = pkgs.buildEnv {
    name = "hive-userland";
    pathsToLink = [ "/bin" ];
    ignoreCollisions = true; # kill and uptime are of two packages
    paths = [
      pkgs.bash
      pkgs.bubblewrap
      pkgs.coreutils
      pkgs.diffutils
      pkgs.findutils
      pkgs.gawk
      pkgs.gitMinimal
      pkgs.gnugrep
      pkgs.gnused
      pkgs.gnutar
      pkgs.gzip
      pkgs.procps
      pkgs.systemd
      python
    ];
  };

  hive = application {
    program = "hive";
    distributions = lib.attrValues libraries;
    tools = hostTools;
    variables.HIVE_USR = userland;
  };
in
{
  inherit libraries python hostTools;

  packages = {
    inherit hive;
    default = hive;
    reconciler = application {
      program = "hive-c0re";
      programs = [
        "hive-c0re"
        "hive"
      ];
      distributions = [ libraries.reconciler ];
      tools = hostTools;
    };
    broker = application {
      program = "hive-broker";
      distributions = [ libraries.broker ];
    };
    gateway = application {
      program = "hive-gateway";
      distributions = [ libraries.gateway ];
    };
    dashboard = application {
      program = "hive-dashboard";
      distributions = [ libraries.dashboard ];
    };
    harness = application {
      program = "hive-harness";
      distributions = [ libraries.harness ];
      tools = [ pkgs.gitMinimal ];
    };
  };
}
