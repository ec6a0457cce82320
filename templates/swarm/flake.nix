{
  description = "A swarm of hyperhive agents";

  # A host builds with its own hyperhive in place of this one (services.hive-c0re.hyperhiveFlake).
  inputs.hyperhive.url = "flake:hyperhive";

  outputs =
    { hyperhive, ... }:
    {
      nixosConfigurations = hyperhive.lib.mkSwarm {
        src = ./.;
        system = "x86_64-linux";
      };
    };
}
