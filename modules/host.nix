# services.hive-c0re: the host's processes, their users, and what they need of NixOS.
{ self }:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.hive-c0re;
  inherit (lib) mkDefault mkIf;
  root = "/var/lib/hyperhive";
  run = "/run/hyperhive";
  # NixOS's own rule for where containers' files lie.
  containers =
    if lib.versionAtLeast config.system.stateVersion "22.05" then "nixos-containers" else "containers";

  directory = user: group: mode: { d = { inherit user group mode; }; };

  # Stops this swarm's containers and no others: their conf files carry our mark.
  stopAgents = pkgs.writeShellScript "hive-stop-agents" ''
    for conf in /etc/${containers}/*.conf; do
      if grep -qs '^HIVE_UID=' "$conf"; then
        name=''${conf##*/}
        units="''${units-} container@''${name%.conf}.service"
      fi
    done
    if [ -n "''${units-}" ]; then
      exec ${pkgs.systemd}/bin/systemctl stop $units
    fi
  '';

  realPlaces = pkgs.writeShellScript "hive-real-places" (builtins.readFile ./real-places.sh);
in
{
  imports = [
    (import ./options.nix { inherit self; })
    (import ./services.nix { inherit self; })
  ];

  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.gateway.apiKeyFile == null || cfg.gateway.oauthTokenFile == null;
        message = "services.hive-c0re.gateway: set apiKeyFile or oauthTokenFile, not both.";
      }
      {
        assertion =
          cfg.dashboard.allowedHosts != [ ]
          || !lib.elem cfg.dashboard.address [
            "0.0.0.0"
            "::"
          ];
        message = "services.hive-c0re.dashboard.allowedHosts: name the hosts under which browsers reach ${cfg.dashboard.address}; other names are refused.";
      }
      {
        assertion = (cfg.dashboard.proxies != [ ]) == (cfg.dashboard.proxyUserHeader != null);
        message = "services.hive-c0re.dashboard: proxies and proxyUserHeader need each other.";
      }
      {
        assertion = !config.system.etc.overlay.enable || config.system.etc.overlay.mutable;
        message = "services.hive-c0re: containers begin by a file in /etc/${containers}; set system.etc.overlay.mutable = true.";
      }
    ];

    boot.enableContainers = true;

    environment.systemPackages = [ cfg.packages.reconciler ];
    environment.variables.HIVE_ROOT = root;

    networking.firewall.allowedTCPPorts = mkIf cfg.dashboard.openFirewall [ cfg.dashboard.port ];

    users.users =
      lib.genAttrs
        [
          "hive-broker"
          "hive-dashboard"
          "hive-eval"
          "hive-gateway"
        ]
        (name: {
          isSystemUser = true;
          group = name;
          description = "hyperhive ${lib.removePrefix "hive-" name}";
        });
    users.groups = {
      hive-broker = { };
      hive-gateway = { };
      hive-dashboard = { };
      hive-eval = { };
      # Operators: may ask everything of host.sock.
      hive.members = cfg.operators;
      # May bind in the agents' socket directories.
      hive-sockets.members = [
        "hive-broker"
        "hive-gateway"
      ];
      # May bind their own socket in the runtime directory. No people: whoever binds a name there
      # keeps it from the process whose it is.
      hive-run.members = [
        "hive-broker"
        "hive-gateway"
        "hive-dashboard"
      ];
      # May ask broker.sock.
      hive-ask.members = [
        "hive-broker"
        "hive-gateway"
        "hive-dashboard"
      ]
      ++ cfg.operators;
    };

    systemd.tmpfiles.settings."10-hyperhive" = {
      ${root} = directory "root" "root" "0711";
      "${root}/keys" = directory "root" "root" "0700";
      "${root}/broker" = directory "hive-broker" "hive-broker" "0700";
      "${root}/gateway" = directory "hive-gateway" "hive-gateway" "0700";
      "${root}/dashboard" = directory "hive-dashboard" "hive-dashboard" "0700";
      ${run} = directory "root" "hive-run" "1771";
      "${run}/agents" = directory "root" "hive-sockets" "0710";
      "/etc/${containers}" = directory "root" "root" "0755";
    };

    systemd.services = {
      hive-c0re.environment.HIVE_CONTAINERS = containers;

      # Containers outlive the reconciler; removing this unit (enable = false) stops them.
      hive-agents = {
        description = "hyperhive containers";
        wantedBy = [ "multi-user.target" ];
        before = [ "hive-c0re.service" ];
        restartIfChanged = false;
        path = [ pkgs.gnugrep ];
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = "${pkgs.coreutils}/bin/true";
          ExecStop = stopAgents;
          TimeoutStopSec = 60;
        };
      };

      # A leftover exec or a killed nspawn must neither stop for 90 s nor use up the start limit.
      "container@" = {
        unitConfig.StartLimitIntervalSec = mkDefault 0;
        serviceConfig = {
          TimeoutStopSec = mkDefault cfg.stopTimeout;
          RestartSec = mkDefault 2;
          # Sockets between a virtual machine and its host are in no network namespace. The other two
          # lines close other ways to the same call: of 32-bit programs, and of rings.
          RestrictAddressFamilies = mkDefault "~AF_VSOCK";
          SystemCallArchitectures = mkDefault "native";
          SystemCallFilter = mkDefault "~io_uring_setup:ENOSYS";
          # systemd starts a container again that reboots, so this is not for the reconciler to do.
          ExecStartPre = [ "${realPlaces} /var/lib/${containers}/%i" ];
          # Where a killed nspawn leaves this mounted, the next one refuses to start.
          ExecStopPost = [
            "-${pkgs.util-linux}/bin/umount --quiet --lazy /run/systemd/nspawn/unix-export/%i"
          ];
        };
      };
    };
  };
}
