# What one of our modules declares, and the configuration that it makes of `settings` (JSON). `lib`
# is the stand-in or a real one.
{
  module,
  settings,
  libPath ? ./nixpkgs/lib,
}:
let
  lib = import libPath;
  system = "x86_64-linux";
  package = name: {
    type = "derivation";
    pname = name;
    inherit name;
    version = "0.1.0";
    outPath = "/nix/store/${lib.substring 0 32 (builtins.hashString "sha256" name)}-${name}";
  };
  pkgs =
    lib.genAttrs [
      "claude-code"
      "coreutils"
      "gitMinimal"
      "gnugrep"
      "nix"
      "openssh"
      "systemd"
      "util-linux"
    ] package
    // rec {
      stdenv.hostPlatform = { inherit system; };
      writeText = writeShellScript;
      writeShellScript = name: text: package "${name}-${builtins.hashString "md5" text}";
    };
  self = {
    outPath = "/nix/store/00000000000000000000000000000000-source";
    # Of the swarm only what the host's module asks for.
    lib.mkSwarm =
      { src, system }:
      lib.genAttrs (lib.attrNames (builtins.readDir (src + "/agents"))) (name: {
        config = {
          services.hive-agent = {
            inherit name;
            role = "manager";
            engine = "rehearsal";
          };
          system.build.toplevel = package "nixos-system-${name}-${system}";
        };
      });
    packages.${system} = lib.genAttrs [
      "broker"
      "dashboard"
      "gateway"
      "harness"
      "reconciler"
    ] (name: package "hive-${name}");
  };
  evaluated = lib.evalModules {
    modules = [
      ./nixpkgs/options.nix
      (import module { inherit self; })
      {
        config = builtins.fromJSON settings;
      }
      {
        config._module.args = { inherit pkgs; };
        config.nix.package = pkgs.nix;
      }
    ];
  };
  inherit (evaluated) config;
  failed = lib.filter (a: !a.assertion) config.assertions;
  shown = value: if value._type or "" == "literalExpression" then value.text else lib.toJSON value;
  described =
    prefix: options:
    lib.concatMap (
      name:
      let
        option = options.${name};
        here = "${prefix}.${name}";
        part = key: if option ? ${key} then shown option.${key} else null;
      in
      if option._type or "" != "option" then
        described here option
      else
        [
          {
            name = here;
            type = option.type.description;
            default = if option ? defaultText then part "defaultText" else part "default";
            example = part "example";
            description = option.description or null;
          }
        ]
    ) (lib.attrNames options);
in
{
  # Every option of ours, in words.
  options = described "services" evaluated.options.services;

  configuration =
    if failed != [ ] then
      throw "Failed assertions:\n${lib.concatMapStrings (a: "- ${a.message}\n") failed}"
    else
      {
        inherit (config)
          boot
          environment
          networking
          systemd
          users
          ;
        nix = config.nix.enable;
        unfree = lib.filter (
          name:
          (config.nixpkgs.config.allowUnfreePredicate or (_: false)) {
            pname = name;
          }
        ) (lib.attrNames pkgs);
        inherit (config.system) stateVersion;
      };
}
