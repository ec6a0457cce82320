# Packages that have a name, a version and a path, and nothing in them.
{ lib, system }:
let
  fake =
    name: version: more:
    derivation {
      inherit name system;
      builder = "/bin/sh";
      args = [
        "-c"
        "echo > $out"
      ];
    }
    // {
      inherit version;
      pname = name;
      meta = { };
      override = _: fake name version more;
    }
    // more;

  # Text decides the path, as it does for the real writers.
  written = name: text: fake "${name}-${builtins.hashString "md5" text}" "0" { };

  build =
    attributes:
    fake attributes.pname attributes.version (
      removeAttrs (attributes // attributes.passthru or { }) [
        "passthru"
        "src"
      ]
    );

  # As in nixos-26.05, as far as it matters.
  versions = {
    aiohttp = "3.13.5";
    aiosqlite = "0.21.0";
    markdown-it-py = "4.0.0";
    orjson = "3.11.4";
    pydantic = "2.12.5";
    pygit2 = "1.19.0";
    pygments = "2.19.2";
    tomli-w = "1.2.0";
    uvloop = "0.22.1";
    watchdog = "6.0.0";
    pyjwt = "2.10.1";
  };

  scope =
    overrides:
    let
      base = lib.genAttrs [
        "anyio"
        "blockbuster"
        "h11"
        "hypothesis"
        "idna"
        "jsonschema"
        "mypy"
        "opentelemetry-api"
        "pytest"
        "pytest-aiohttp"
        "pytest-asyncio"
        "pytest-timeout"
        "pytest-xdist"
        "python-multipart"
        "setuptools"
        "sse-starlette"
        "starlette"
        "truststore"
        "typing-extensions"
        "typing-inspection"
        "uvicorn"
      ] (name: fake name "1.0" { });
      versioned = lib.mapAttrs (
        name: version: fake name version { optional-dependencies.crypto = [ ]; }
      ) versions;
      final =
        base
        // versioned
        // {
          inherit lib;
          buildPythonPackage = build;
          fetchPypi = { pname, version, ... }: fake "${pname}-source" version { };
          callPackage =
            file: more:
            let
              package = import file;
            in
            package (lib.intersectAttrs (lib.functionArgs package) final // more);
        }
        // overrides final (base // versioned);
    in
    final;

  python = overrides: {
    pkgs = scope overrides;
    override = { packageOverrides }: python packageOverrides;
    withPackages = choose: fake "python-env" "3.13" { chosen = choose (scope overrides); };
  };
in
lib.genAttrs [
  "bubblewrap"
  "claude-code"
  "coreutils"
  "gitMinimal"
  "gnugrep"
  "iproute2"
  "jq"
  "makeBinaryWrapper"
  "nftables"
  "nixfmt"
  "openssh"
  "ruff"
  "systemd"
  "util-linux"
] (name: fake name "1.0" { })
// {
  inherit lib;
  nix = fake "nix" "2.31" { };
  python3 = python (_: _: { });
  stdenv.hostPlatform = { inherit system; };
  closureInfo = _: fake "closure-info" "0" { };
  mkShell = _: fake "shell" "0" { };
  runCommand = name: attributes: _: fake name "0" (attributes.passthru or { });
  testers.runNixOSTest = test: fake "vm-test-${test.name}" "0" { };
  writeShellScript = written;
  writeText = written;
}
