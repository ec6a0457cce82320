# The configuration of the host, as a person who wants to rehearse would write it.
let
  hyperhive = builtins.getFlake "path:/src";
in
(hyperhive.inputs.nixpkgs.lib.nixosSystem {
  modules = [
    hyperhive.nixosModules.hive-c0re
    {
      nixpkgs.hostPlatform = "x86_64-linux";
      networking.hostName = "host";
      users.users.alice.description = "an operator";
      services.hive-c0re = {
        enable = true;
        rehearse = true;
        operators = [ "alice" ];
      };
    }
  ];
}).config.system.build.toplevel
