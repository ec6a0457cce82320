{
  description = "hyperhive: contained agents whose desired state lives in git";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    treefmt-nix = {
      url = "github:numtide/treefmt-nix";
      inputs.nixpkgs.follows = "nixpkgs";
    };
  };

  outputs =
    {
      self,
      nixpkgs,
      treefmt-nix,
    }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      eachSystem = f: lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
      hive = pkgs: import ./pkgs { inherit lib pkgs; };
      formatting = pkgs: (treefmt-nix.lib.evalModule pkgs ./pkgs/treefmt.nix).config.build;
    in
    {
      packages = eachSystem (pkgs: (hive pkgs).packages);

      nixosModules = rec {
        hive-c0re = import ./modules/host.nix { inherit self; };
        agent = import ./modules/agent.nix { inherit self; };
        default = hive-c0re;
      };

      lib.mkSwarm = import ./modules/swarm.nix { inherit self nixpkgs; };

      templates = rec {
        swarm = {
          path = ./templates/swarm;
          description = "The applied repository of a new swarm";
        };
        default = swarm;
      };

      checks = eachSystem (
        pkgs:
        import ./pkgs/checks.nix {
          inherit
            lib
            nixpkgs
            pkgs
            self
            ;
          hive = hive pkgs;
        }
        // {
          formatting = (formatting pkgs).check self;
        }
      );

      devShells = eachSystem (pkgs: {
        default = import ./pkgs/shell.nix {
          inherit pkgs;
          hive = hive pkgs;
        };
      });

      formatter = eachSystem (pkgs: (formatting pkgs).wrapper);
    };
}
