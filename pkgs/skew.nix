# How far nixpkgs' versions are from those of requirements.lock, for what we depend on directly.
# `problems` names what is below a floor of a pyproject.toml or another two major versions away.
{
  lib,
  lockFile,
  python,
  libraries,
}:
let
  pinned =
    let
      line = builtins.match "([A-Za-z0-9_.-]+)==([^ ;\\]+).*";
      found = lib.filter (match: match != null) (
        map line (lib.splitString "\n" (builtins.readFile lockFile))
      );
    in
    lib.listToAttrs (
      map (match: lib.nameValuePair (builtins.elemAt match 0) (builtins.elemAt match 1)) found
    );

  floor =
    requirement:
    let
      match = builtins.match "([A-Za-z0-9_.-]+)(\\[[a-z]+])?>=([0-9.]+)" requirement;
    in
    lib.optional (match != null) {
      name = builtins.elemAt match 0;
      least = builtins.elemAt match 2;
    };

  # Each of its releases is a new major version, whatever it changes.
  releases = [ "cryptography" ];

  floors = lib.concatMap floor (
    lib.concatMap (library: library.requirements) (lib.attrValues libraries)
  );

  major = version: lib.toIntBase10 (lib.head (lib.splitString "." version));

  row =
    { name, least }:
    let
      here = python.pkgs.${name}.version;
      locked = pinned.${name};
      apart = major locked - major here;
    in
    {
      inherit
        name
        least
        here
        locked
        ;
      problem =
        if builtins.compareVersions here least < 0 then
          "nixpkgs has ${here}, pyproject.toml wants ${least}"
        else if (apart > 1 || apart < -1) && !lib.elem name releases then
          "nixpkgs has ${here}, requirements.lock ${locked}"
        else
          null;
    };

  rows = lib.unique (map row floors);
in
{
  table = lib.concatMapStrings (r: "${r.name}\t${r.least}\t${r.here}\t${r.locked}\n") rows;
  problems = map (r: "${r.name}: ${r.problem}") (lib.filter (r: r.problem != null) rows);
}
