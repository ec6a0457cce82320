{ pkgs, hive }:
pkgs.mkShell {
  packages = hive.hostTools ++ [
    (hive.python.withPackages (
      ps:
      pkgs.lib.concatMap (library: library.resolved) (builtins.attrValues hive.libraries)
      ++ [
        ps.blockbuster
        ps.hypothesis
        ps.mypy
        ps.pytest
        ps.pytest-aiohttp
        ps.pytest-asyncio
        ps.pytest-timeout
        ps.pytest-xdist
      ]
    ))
    pkgs.nixfmt
    pkgs.ruff
  ];

  # The checkout's own code before the packaged one.
  shellHook = ''
    for part in wire broker gateway harness reconciler dashboard; do
      PYTHONPATH=$PWD/$part''${PYTHONPATH:+:$PYTHONPATH}
    done
    export PYTHONPATH
  '';
}
