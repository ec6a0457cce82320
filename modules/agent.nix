# What runs in an agent's container. lib.mkSwarm sets name, role and engine from agent.toml.
{ self }:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.hive-agent;
  inherit (lib) mkDefault mkIf types;
in
{
  options.services.hive-agent = {
    enable = lib.mkEnableOption "the harness that turns messages into turns of a model session";

    name = lib.mkOption {
      type = types.strMatching "[a-z]([a-z0-9-]{0,7}[a-z0-9])?";
      default = lib.removePrefix "h-" config.networking.hostName;
      defaultText = lib.literalExpression ''lib.removePrefix "h-" config.networking.hostName'';
      example = "scout";
      description = "The agent's name: its directory under `agents/` of the applied branch.";
    };

    role = lib.mkOption {
      type = types.enum [
        "agent"
        "manager"
      ];
      default = "agent";
      example = "manager";
      description = "The manager also has `/hive`, its clone of the applied branch, and `/agents`.";
    };

    engine = lib.mkOption {
      type = types.enum [
        "claude"
        "rehearsal"
      ];
      default = "claude";
      example = "rehearsal";
      description = "What runs a turn: Claude Code, or the scripted stand-in without an account.";
    };

    package = lib.mkOption {
      type = types.nullOr types.package;
      default = if cfg.engine == "claude" then pkgs.claude-code else null;
      defaultText = lib.literalExpression ''if engine == "claude" then pkgs.claude-code else null'';
      example = lib.literalExpression "pkgs.claude-code";
      description = "Claude Code. Unfree: allowed by name, in this container only, when chosen.";
    };

    harness = lib.mkOption {
      type = types.package;
      default = self.packages.${pkgs.stdenv.hostPlatform.system}.harness;
      defaultText = lib.literalExpression "hyperhive.packages.\${system}.harness";
      example = lib.literalExpression "hyperhive.packages.x86_64-linux.harness";
      description = "The harness to run.";
    };
  };

  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.engine != "claude" || cfg.package != null;
        message = "services.hive-agent.package: the engine \"claude\" needs Claude Code; set it, or engine = \"rehearsal\" in agent.toml.";
      }
    ];

    boot.isNspawnContainer = true;
    networking.useDHCP = mkDefault false;
    system.stateVersion = mkDefault "26.05";

    # The host's daemon is out of reach, on purpose.
    nix.enable = false;
    documentation.enable = mkDefault false;

    nixpkgs.config = mkIf (cfg.engine == "claude") {
      allowUnfreePredicate = package: lib.elem (lib.getName package) [ "claude-code" ];
    };

    environment.systemPackages = [
      cfg.harness # hive-wake, for the agent's own services
      pkgs.gitMinimal
    ]
    ++ lib.optional (cfg.package != null) cfg.package;

    systemd.tmpfiles.settings = mkIf (cfg.role == "manager") {
      "10-hive" = {
        "/hive".L.argument = "/state/hive";
        "/agents".L.argument = "/hive/agents";
      };
    };

    systemd.services.hive-harness = {
      description = "hyperhive harness of ${cfg.name}";
      wantedBy = [ "multi-user.target" ];
      unitConfig.RequiresMountsFor = [
        "/run/hive"
        "/state"
        "/root/.claude"
      ];
      # What the agent's packages and services bring is for its tools too.
      path = [ "/run/current-system/sw" ];
      environment = {
        HOME = "/root";
        CLAUDE_CONFIG_DIR = "/root/.claude";
        DISABLE_AUTOUPDATER = "1";
      };
      # A switch must not end a running turn: the reconciler restarts the container when it is idle.
      restartIfChanged = false;
      stopIfChanged = false;
      serviceConfig = {
        ExecStart = lib.concatStringsSep " " (
          [ (lib.getExe' cfg.harness "hive-harness") ]
          ++ lib.optionals (cfg.package != null) [
            "--engine-path"
            (lib.getExe' cfg.package "claude")
          ]
        );
        WorkingDirectory = "/state";
        Restart = "always";
        RestartSec = 1;
        KillMode = "mixed";
        TimeoutStopSec = 8;
        OOMPolicy = "continue";
        # The host keeps the console: the container's journal is the agent's to forge.
        StandardOutput = "journal+console";
        StandardError = "journal+console";
      };
    };
  };
}
