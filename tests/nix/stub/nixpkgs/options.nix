# The NixOS options that our modules write, and no others: a typing error there is an error here.
{ lib, ... }:
let
  set = lib.mkOption {
    type = lib.types.attrsOf lib.types.anything;
    default = { };
  };
  list = lib.mkOption {
    type = lib.types.listOf lib.types.anything;
    default = [ ];
  };
  flag = lib.mkOption {
    type = lib.types.bool;
    default = false;
  };
  text = lib.mkOption {
    type = lib.types.str;
    default = "";
  };
  value = lib.mkOption { type = lib.types.raw; };
in
{
  options = {
    assertions = list;
    boot = {
      enableContainers = flag;
      isNspawnContainer = flag;
      loader = set;
    };
    documentation.enable = flag;
    environment = {
      systemPackages = list;
      variables = set;
    };
    fileSystems = set;
    networking = {
      firewall.allowedTCPPorts = list;
      hostName = text;
      useDHCP = flag;
    };
    nix = {
      enable = flag;
      package = value;
    };
    nixpkgs = {
      config = set;
      hostPlatform = text;
    };
    specialisation = set;
    system = {
      extraDependencies = list;
      etc.overlay = {
        enable = flag;
        mutable = flag;
      };
      stateVersion = text // {
        default = "26.05";
      };
    };
    virtualisation = set;
    systemd = {
      services = set;
      tmpfiles.settings = set;
    };
    users = {
      groups = set;
      users = set;
    };
  };
}
