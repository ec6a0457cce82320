# lib.mkSwarm: the NixOS configuration of every agent of an applied repository, by container
# name. Takes the repository's path, or { src, system, modules }.
{ self, nixpkgs }:
argument:
let
  inherit (nixpkgs) lib;
  given = if builtins.isAttrs argument && argument ? src then argument else { src = argument; };
  inherit (given) src;
  system = given.system or "x86_64-linux";
  shared = given.modules or [ ];

  readToml = file: builtins.fromTOML (builtins.readFile file);
  present = file: lib.optional (builtins.pathExists file) file;

  hive = readToml (src + "/hive.toml");
  directories = lib.filterAttrs (_: type: type == "directory") (builtins.readDir (src + "/agents"));

  one =
    name: _:
    let
      directory = src + "/agents/${name}";
      spec = (hive.defaults or { }) // readToml (directory + "/agent.toml");
      role = spec.role or "agent";
      container = if role == "manager" then name else "h-${name}";
    in
    lib.nameValuePair container (
      nixpkgs.lib.nixosSystem {
        modules = [
          self.nixosModules.agent
          {
            nixpkgs.hostPlatform = system;
            networking.hostName = container;
            services.hive-agent = {
              enable = true;
              inherit name role;
              engine = spec.engine or "claude";
            };
          }
        ]
        ++ shared
        ++ present (src + "/modules/default.nix")
        ++ present (directory + "/agent.nix");
      }
    );
in
lib.mapAttrs' one directories
