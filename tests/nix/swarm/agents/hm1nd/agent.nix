# Packages and services of this agent's container. Read where the host runs NixOS.
{ pkgs, ... }:
{
  environment.systemPackages = [ pkgs.git ];
}
