# One distribution of this repository as a Python package. Its pyproject.toml is the only list
# of dependencies: names there are names in nixpkgs' Python set.
{
  lib,
  python,
  directory,
  siblings,
}:
let
  inherit (lib.importTOML (directory + "/pyproject.toml")) project;

  resolve =
    requirement:
    let
      parts = builtins.match "([A-Za-z0-9_.-]+)(\\[([a-z]+)])?.*" requirement;
      name = builtins.elemAt parts 0;
      extra = builtins.elemAt parts 2;
      package = siblings.${name} or python.pkgs.${name};
    in
    [ package ] ++ lib.optionals (extra != null) package.optional-dependencies.${extra};

  dependencies = lib.concatMap resolve project.dependencies;
  extras = lib.mapAttrs (_: lib.concatMap resolve) (project.optional-dependencies or { });
in
python.pkgs.buildPythonPackage {
  pname = project.name;
  inherit (project) version;
  pyproject = true;
  src = directory;

  build-system = [ python.pkgs.setuptools ];
  inherit dependencies;
  optional-dependencies = extras;

  # The tests need all distributions and stand in checks.unit.
  doCheck = false;
  pythonImportsCheck = [ (lib.replaceStrings [ "-" ] [ "_" ] project.name) ];

  passthru = {
    requirements = project.dependencies;
    resolved = dependencies;
  };

  meta = {
    inherit (project) description;
    license = lib.licenses.mit;
    platforms = lib.platforms.linux;
  };
}
