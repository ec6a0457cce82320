# nixosSystem: our modules among the options they write. A failed assertion is an error, and the
# system's path follows from all of its configuration.
{ lib, packages }:
{ modules }:
let
  evaluated = lib.evalModules {
    modules = modules ++ [
      ./options.nix
      (
        { config, ... }:
        let
          pkgs = packages.${config.nixpkgs.hostPlatform};
        in
        {
          _module.args.pkgs = pkgs;
          nix.package = pkgs.nix;
        }
      )
    ];
  };
  failed = lib.filter (a: !a.assertion) evaluated.config.assertions;
  shown = removeAttrs evaluated.config [
    "_module"
    "nixpkgs"
    "services"
  ];
  config =
    if failed == [ ] then
      evaluated.config
    else
      throw "Failed assertions:\n${lib.concatMapStrings (a: "- ${a.message}\n") failed}";
in
{
  inherit (evaluated) options;
  config = config // {
    system = config.system // {
      build.toplevel = derivation {
        name = "nixos-system-${config.networking.hostName}";
        system = config.nixpkgs.hostPlatform;
        builder = "/bin/sh";
        args = [
          "-e"
          ./system.sh
        ];
        configuration = lib.toJSON shown;
        generator = ./etc.py;
      };
    };
  };
}
