# The configuration that one of our modules makes of `settings`, as JSON. `lib` is the stand-in
# or a real one.
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
  parts = [
    "default"
    "description"
    "example"
    "type"
  ];
  undocumented =
    prefix: options:
    lib.concatMap (
      name:
      let
        option = options.${name};
        here = "${prefix}.${name}";
      in
      if option._type or "" != "option" then
        undocumented here option
      else
        lib.optional (!lib.all (part: option ? ${part}) parts) here
    ) (lib.attrNames options);
in
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
    unfree = lib.filter (name: (config.nixpkgs.config.allowUnfreePredicate or (_: false)) {
      pname = name;
    }) (lib.attrNames pkgs);
    stateVersion = config.system.stateVersion;
    undocumented = undocumented "services" evaluated.options.services;
  }
