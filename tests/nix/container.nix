# The host module on a container instead of a virtual machine: faster, and without KVM. Containers
# of agents do not start in it; its builder needs auto-allocate-uids, cgroups and uid-range.
{ pkgs, self }:
pkgs.testers.runNixOSTest {
  name = "hyperhive-container";

  containers.host = {
    imports = [ self.nixosModules.hive-c0re ];
    services.hive-c0re = {
      enable = true;
      rehearse = true;
      operators = [ "alice" ];
    };
    users.users.alice.isNormalUser = true;
  };

  testScript = ''
    for unit in ("hive-c0re", "hive-broker", "hive-gateway", "hive-dashboard"):
        host.wait_for_unit(f"{unit}.service")
    host.wait_for_open_port(7000)
    host.wait_until_succeeds("hive status --json | grep -q hm1nd")

    with subtest("members of the group hive may ask, nobody else"):
        # Without PAM, which does not work in a build sandbox.
        host.succeed("setpriv --reuid alice --regid users --init-groups hive status")
        host.fail("setpriv --reuid nobody --regid nogroup --clear-groups hive status")

    with subtest("every process but the reconciler has a user of its own"):
        for name in ("broker", "gateway", "dashboard"):
            assert f"hive-{name}" == host.succeed(
                f"ps -o user:32= $(systemctl show -P MainPID hive-{name})"
            ).strip()

    with subtest("the gateway says that it has no credential"):
        host.fail("hive doctor")
  '';
}
