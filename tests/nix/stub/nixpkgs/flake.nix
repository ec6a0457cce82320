{
  outputs =
    { self }:
    let
      plain = import ./lib;
      nixosSystem = import ./nixos.nix {
        lib = plain;
        packages = self.legacyPackages;
      };
    in
    {
      lib = plain // {
        inherit nixosSystem;
      };
      legacyPackages =
        plain.genAttrs
          [
            "x86_64-linux"
            "aarch64-linux"
          ]
          (
            system:
            import ./packages.nix {
              inherit system;
              lib = plain;
            }
          );
    };
}
