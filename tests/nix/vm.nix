# A host and two agents on a virtual machine: approve, update in place, stop, reboot, disable.
{
  nixpkgs,
  pkgs,
  self,
}:
let
  # What the reconciler will ask for: the sandbox has no network to build anything else with.
  swarm =
    modules:
    self.lib.mkSwarm {
      src = ./swarm;
      inherit (pkgs.stdenv.hostPlatform) system;
      inherit modules;
    };
  systems = [
    (swarm [ ]).hm1nd
    (swarm [ ]).h-scout
    (swarm [ { environment.variables.UPDATED = "yes"; } ]).h-scout
  ];
in
pkgs.testers.runNixOSTest {
  name = "hyperhive";

  nodes.host = {
    imports = [ self.nixosModules.hive-c0re ];
    services.hive-c0re = {
      enable = true;
      rehearse = true;
      operators = [ "alice" ];
    };
    users.users.alice.isNormalUser = true;
    environment.systemPackages = [ pkgs.git ];
    # The store on the machine's own disk: what the driver mounts otherwise cannot be id-mapped.
    virtualisation = {
      memorySize = 4096;
      diskSize = 16384;
      useBootLoader = true;
      useEFIBoot = true;
    };
    boot.loader.systemd-boot.enable = true;
    boot.loader.efi.canTouchEfiVariables = true;
    system.extraDependencies = [
      nixpkgs.outPath
      self.outPath
    ]
    ++ map (system: system.config.system.build.toplevel) systems;
    specialisation.disabled.configuration.services.hive-c0re.enable = pkgs.lib.mkForce false;
  };

  testScript = ''
    import json


    def approve():
        host.wait_until_succeeds("hive proposals --json | grep -q digest")
        (one,) = json.loads(host.succeed("hive proposals --json"))
        host.succeed(f"hive approve {one['n']} --expect {one['effect']['digest']}")

    host.wait_for_unit("hive-c0re.service")
    host.wait_for_unit("container@hm1nd.service")
    host.wait_for_open_port(7000)
    host.succeed("hive status --wait")
    host.succeed("su alice -c 'hive status'")
    host.fail("su nobody -s /bin/sh -c 'hive status'")

    with subtest("a spawn is a commit that a person approves"):
        host.succeed("hive spawn scout --description 'reads the news'")
        approve()
        host.succeed("hive status --wait")
        host.wait_for_unit("container@h-scout.service")

    with subtest("a change of packages or services switches in place"):
        pid = host.succeed("systemctl show -P MainPID container@h-scout")
        host.succeed(
            "git clone -q -b applied /var/lib/hyperhive/hive.git clone && cd clone"
            " && sed -i '$s/.*/  environment.variables.UPDATED = \"yes\";\\n}/'"
            " agents/scout/agent.nix"
            " && git -c user.name=x -c user.email=x@x commit -qam update"
            " && git push -q /var/lib/hyperhive/inbox.git HEAD:proposed/update"
        )
        approve()
        host.succeed("hive status --wait")
        host.succeed("nixos-container run h-scout -- sh -lc 'test $UPDATED = yes'")
        assert pid == host.succeed("systemctl show -P MainPID container@h-scout")

    with subtest("stop is a commit too"):
        host.succeed("hive stop scout")
        host.wait_until_fails("systemctl is-active container@h-scout.service")

    with subtest("agents come back after a reboot, those that are to run"):
        host.shutdown()
        host.start()
        host.wait_for_unit("container@hm1nd.service", timeout=180)
        host.fail("systemctl is-active container@h-scout.service")

    with subtest("the host's store is out of reach"):
        host.fail(
            "nixos-container run hm1nd -- mount -o remount,rw,bind /nix/store"
        )

    with subtest("disabled: containers stop, their state stays"):
        host.succeed("/run/current-system/specialisation/disabled/bin/switch-to-configuration test")
        host.fail("systemctl is-active container@hm1nd.service")
        host.succeed("test -d /var/lib/hyperhive/hive.git && test -d /var/lib/hyperhive/agents")
  '';
}
