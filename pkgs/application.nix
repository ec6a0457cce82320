# Programs of some distributions on an interpreter that has exactly these. Not
# buildPythonApplication: processes here start `sys.executable -m hive_…` children, and its
# sys.executable is the bare interpreter.
{
  lib,
  pkgs,
  python,
  distributions,
  program,
  programs ? [ program ],
  tools ? [ ],
  variables ? { },
}:
let
  environment = python.withPackages (_: distributions);
  inherit (builtins.head distributions) version;
  setVariables = lib.concatMapStringsSep " " (name: "--set-default ${name} ${variables.${name}}") (
    lib.attrNames variables
  );
in
pkgs.runCommand "${program}-${version}"
  {
    pname = program;
    inherit version;
    nativeBuildInputs = [ pkgs.makeBinaryWrapper ];
    passthru = { inherit distributions environment; };
    meta = {
      description = "hyperhive: ${program}";
      license = lib.licenses.mit;
      platforms = lib.platforms.linux;
      mainProgram = program;
    };
  }
  ''
    mkdir -p $out/bin
    for program in ${lib.concatStringsSep " " programs}; do
      makeBinaryWrapper ${environment}/bin/$program $out/bin/$program \
        --set PYTHONNOUSERSITE 1 --set PYTHONSAFEPATH 1 \
        --suffix PATH : ${lib.makeBinPath tools} ${setVariables}
    done
  ''
