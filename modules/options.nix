# The options of services.hive-c0re.
{ self }:
{ lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  ours = self.packages.${pkgs.stdenv.hostPlatform.system};

  package =
    name:
    mkOption {
      type = types.package;
      default = ours.${name};
      defaultText = lib.literalExpression "hyperhive.packages.\${system}.${name}";
      example = lib.literalExpression "hyperhive.packages.x86_64-linux.${name}";
      description = "The ${name} to run.";
    };

  secret =
    what:
    mkOption {
      type = types.nullOr (types.strMatching "/.+");
      default = null;
      example = "/run/secrets/${what}";
      description = ''
        File with the ${what}, readable by root. It is handed to the gateway alone, as a systemd
        credential; a path in the Nix store is refused.
      '';
      apply =
        file:
        if file != null && lib.hasPrefix builtins.storeDir file then
          throw "services.hive-c0re.gateway: ${file} lies in the Nix store, which everybody can read; give a path outside it, as a string."
        else
          file;
    };
in
{
  options.services.hive-c0re = {
    enable = lib.mkEnableOption "hyperhive: contained agents whose desired state lives in git";

    packages = {
      reconciler = package "reconciler";
      broker = package "broker";
      gateway = package "gateway";
      dashboard = package "dashboard";
    };

    hyperhiveFlake = mkOption {
      type = types.str;
      default = "path:${self}";
      defaultText = lib.literalExpression ''"path:''${self}"'';
      example = "git+https://git.example.org/hyperhive";
      description = ''
        Flake that agents' containers are built with. The default is the hyperhive of this host's
        configuration: an update of the host updates its agents.
      '';
    };

    rehearse = mkOption {
      type = types.bool;
      default = false;
      example = true;
      description = ''
        Whether a new swarm begins with scripted agents, which need no account. The hive.toml of
        a swarm that exists is not changed by it.
      '';
    };

    swarm = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = lib.literalExpression "inputs.my-swarm.outPath";
      description = ''
        Applied repository whose agents' systems are part of this host's configuration. Then
        nixos-rebuild is the only builder: the reconciler starts, switches and stops containers
        with what the host has, once that was made from the approved commit.
      '';
    };

    operators = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "alice" ];
      description = "Users who may use the `hive` command: members of the group `hive`.";
    };

    stopTimeout = mkOption {
      type = types.ints.between 1 90;
      default = 10;
      example = 30;
      description = "Seconds that a container on this host has to shut down before it is killed.";
    };

    dashboard = {
      address = mkOption {
        type = types.str;
        default = "127.0.0.1";
        example = "0.0.0.0";
        description = "Address that the dashboard listens on.";
      };

      port = mkOption {
        type = types.port;
        default = 7000;
        example = 7001;
        description = "Port of the dashboard.";
      };

      allowedHosts = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "hive.example.org" ];
        description = "Host names, besides loopback, under which browsers may ask for its pages.";
      };

      basePath = mkOption {
        type = types.strMatching "(/[A-Za-z0-9._~-]+)*";
        default = "";
        example = "/hive";
        description = "Where a reverse proxy has the pages; it must take that off.";
      };

      proxies = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "192.0.2.7" ];
        description = ''
          Addresses or networks of proxies whose proxyUserHeader is believed. All who can speak
          from there can log in as anybody.
        '';
      };

      proxyUserHeader = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "Remote-User";
        description = "Header in which the proxies name the user who is logged in there.";
      };

      openFirewall = mkOption {
        type = types.bool;
        default = false;
        example = true;
        description = "Whether to open the dashboard's port in the firewall.";
      };
    };

    gateway = {
      apiKeyFile = secret "anthropic-api-key";
      oauthTokenFile = secret "claude-oauth-token";

      url = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "https://models.example.org";
        description = "Base address of the model's API; null is the vendor's.";
      };
    };
  };
}
