# The four processes of the host as hardened units.
{ self }:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.hive-c0re;
  root = "/var/lib/hyperhive";
  run = "/run/hyperhive";

  command =
    package: program: arguments:
    lib.escapeShellArgs (
      [
        (lib.getExe' package program)
        "--root"
        root
      ]
      ++ arguments
    );

  # No PrivateUsers: peers are known by SO_PEERCRED, which it would hide.
  unprivileged = name: families: {
    User = "hive-${name}";
    Group = "hive-${name}";
    UMask = "0077";
    Restart = "always";
    RestartSec = 1;
    ReadWritePaths = [
      "${root}/${name}"
      run
    ];
    AmbientCapabilities = "";
    CapabilityBoundingSet = "";
    LockPersonality = true;
    NoNewPrivileges = true;
    PrivateDevices = true;
    PrivateTmp = true;
    ProtectClock = true;
    ProtectControlGroups = true;
    ProtectHome = true;
    ProtectHostname = true;
    ProtectKernelLogs = true;
    ProtectKernelModules = true;
    ProtectKernelTunables = true;
    ProtectProc = "invisible";
    ProtectSystem = "strict";
    RemoveIPC = true;
    RestrictAddressFamilies = [ "AF_UNIX" ] ++ families;
    RestrictNamespaces = true;
    RestrictRealtime = true;
    RestrictSUIDSGID = true;
    SystemCallArchitectures = "native";
    SystemCallFilter = [
      "@system-service"
      "~@privileged"
      "@chown" # they give their sockets to groups of theirs
    ];
  };

  internet = [
    "AF_INET"
    "AF_INET6"
  ];

  credentials =
    lib.optional (cfg.gateway.apiKeyFile != null) "anthropic-api-key:${cfg.gateway.apiKeyFile}"
    ++ lib.optional (
      cfg.gateway.oauthTokenFile != null
    ) "claude-oauth-token:${cfg.gateway.oauthTokenFile}";
  declared = pkgs.writeText "hive-systems.json" (
    builtins.toJSON (
      import ./declared.nix {
        inherit lib;
        src = cfg.swarm;
        systems = self.lib.mkSwarm {
          src = cfg.swarm;
          inherit (pkgs.stdenv.hostPlatform) system;
        };
      }
    )
  );
in
{
  config = lib.mkIf cfg.enable {
    systemd.services = {
      hive-c0re = {
        description = "hyperhive reconciler";
        wantedBy = [ "multi-user.target" ];
        after = [ "systemd-machined.service" ];
        path = [
          config.nix.package
          pkgs.gitMinimal
          pkgs.openssh
          pkgs.systemd
          pkgs.util-linux
        ];
        environment = {
          HIVE_FLAKE = cfg.hyperhiveFlake;
          NIX_REMOTE = "daemon";
        }
        // lib.optionalAttrs (cfg.swarm != null) { HIVE_SYSTEMS = "${declared}"; };
        serviceConfig = {
          ExecStart = command cfg.packages.reconciler "hive-c0re" (
            [
              "--runtime"
              "nixos"
            ]
            ++ lib.optional cfg.rehearse "--rehearse"
          );
          Restart = "always";
          RestartSec = 1;
          LockPersonality = true;
          PrivateTmp = true;
          ProtectClock = true;
          ProtectHome = true;
          ProtectHostname = true;
          ProtectKernelLogs = true;
          ProtectKernelModules = true;
          RestrictRealtime = true;
          SystemCallArchitectures = "native";
        };
      };

      hive-broker = {
        description = "hyperhive broker";
        wantedBy = [ "multi-user.target" ];
        serviceConfig = unprivileged "broker" [ ] // {
          ExecStart = command cfg.packages.broker "hive-broker" [ ];
          # broker.sock is for this group: gateway, dashboard, operators.
          Group = "hive-ask";
          SupplementaryGroups = [
            "hive-broker"
            "hive-run"
            "hive-sockets"
          ];
          PrivateNetwork = true;
        };
      };

      hive-gateway = {
        description = "hyperhive gateway";
        wantedBy = [ "multi-user.target" ];
        environment = lib.mkIf (cfg.gateway.url != null) { ANTHROPIC_BASE_URL = cfg.gateway.url; };
        serviceConfig = unprivileged "gateway" internet // {
          ExecStart = command cfg.packages.gateway "hive-gateway" [ ];
          LoadCredential = credentials;
          SupplementaryGroups = [
            "hive-ask"
            "hive-run"
            "hive-sockets"
          ];
        };
      };

      hive-dashboard = {
        description = "hyperhive dashboard";
        wantedBy = [ "multi-user.target" ];
        serviceConfig = unprivileged "dashboard" internet // {
          ExecStart = command cfg.packages.dashboard "hive-dashboard" (
            [
              "--host"
              cfg.dashboard.address
              "--port"
              (toString cfg.dashboard.port)
            ]
            ++ lib.concatMap (host: [
              "--allowed-host"
              host
            ]) cfg.dashboard.allowedHosts
            ++ lib.optionals (cfg.dashboard.basePath != "") [
              "--base-path"
              cfg.dashboard.basePath
            ]
            ++ lib.concatMap (address: [
              "--proxy"
              address
            ]) cfg.dashboard.proxies
            ++ lib.optionals (cfg.dashboard.proxyUserHeader != null) [
              "--proxy-user-header"
              cfg.dashboard.proxyUserHeader
            ]
          );
          SupplementaryGroups = [
            "hive"
            "hive-ask"
            "hive-run"
          ];
        };
      };
    };
  };
}
