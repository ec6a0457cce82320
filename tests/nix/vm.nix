# A host and its agents on a virtual machine: approve, update, stop, reboot.
{
  nixpkgs,
  pkgs,
  self,
}:
let
  swarm = self.lib.mkSwarm {
    src = ../../templates/swarm;
    inherit (pkgs.stdenv.hostPlatform) system;
  };
in
pkgs.testers.runNixOSTest {
  name = "hyperhive";

  nodes.host = {
    imports = [ self.nixosModules.hive-c0re ];
    services.hive-c0re = {
      enable = true;
      operators = [ "alice" ];
    };
    users.users.alice.isNormalUser = true;
    virtualisation = {
      memorySize = 4096;
      diskSize = 8192;
      writableStore = true;
    };
    # The sandbox has no network: sources to evaluate with, and what evaluation gives.
    system.extraDependencies = [
      nixpkgs.outPath
      self.outPath
      swarm.hm1nd.config.system.build.toplevel
    ];
  };

  testScript = ''
    host.wait_for_unit("hive-c0re.service")
    host.wait_until_succeeds("hive status --json | grep -q hm1nd", timeout=120)
    host.wait_for_unit("container@hm1nd.service")
    host.wait_for_open_port(7000)
    host.succeed("su alice -c 'hive status'")
    host.fail("su nobody -s /bin/sh -c 'hive status'")

    with subtest("a spawn is a commit that a person approves"):
        host.succeed("hive spawn scout --description 'reads the news'")
        number, digest = host.succeed(
            "hive proposals --json | ${pkgs.jq}/bin/jq -r "
            "'.proposals[0] | \"\\(.n) \\(.effect.digest)\"'"
        ).split()
        host.succeed(f"hive approve {number} --expect {digest}")
        host.wait_for_unit("container@h-scout.service")

    with subtest("stop is a commit too"):
        host.succeed("hive stop scout")
        host.wait_until_fails("systemctl is-active container@h-scout.service")

    with subtest("agents come back after a reboot"):
        host.shutdown()
        host.start()
        host.wait_for_unit("container@hm1nd.service", timeout=180)
        host.fail("systemctl is-active container@h-scout.service")

    with subtest("the host's store is out of reach"):
        host.fail(
            "nixos-container run hm1nd -- mount -o remount,rw,bind /nix/store"
        )
  '';
}
