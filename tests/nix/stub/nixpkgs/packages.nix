# Packages that have a name, a version and a path, and in bin/ what the machine itself has.
{ lib, system }:
let
  fake =
    name: version: more:
    derivation {
      inherit name system;
      builder = "/bin/sh";
      args = [
        "-c"
        "PATH=/usr/bin:/bin; mkdir $out; ln -s /usr/bin $out/bin"
      ];
    }
    // {
      inherit version;
      pname = name;
      meta = { };
      override = _: fake name version more;
    }
    // more;

  written =
    head: name: text:
    derivation {
      inherit name system;
      builder = "/bin/sh";
      args = [
        "-c"
        "PATH=/usr/bin:/bin; printf '%s' \"$text\" > $out; chmod +x $out"
      ];
      text = head + text;
    };

  # Its script is not run: what it is given is evaluated, and programs run the checkout's code.
  run =
    name: attributes: script:
    derivation (
      removeAttrs attributes [
        "meta"
        "nativeBuildInputs"
        "passthru"
      ]
      // {
        inherit name system;
        builder = "/bin/sh";
        args = [
          "-e"
          ./application.sh
        ];
        inputs = attributes.nativeBuildInputs or [ ];
      }
    )
    // {
      inherit script;
      meta = attributes.meta or { };
    }
    // attributes.passthru or { };

  build =
    attributes:
    fake attributes.pname attributes.version (
      removeAttrs (attributes // attributes.passthru or { }) [
        "passthru"
        "src"
      ]
    );

  # What nixos-26.05 can have at most: the newest of mid-May 2026, when it branched off.
  versions = {
    aiohttp = "3.13.5";
    aiosqlite = "0.21.0";
    anyio = "4.13.0";
    cryptography = "46.0.7";
    h11 = "0.16.0";
    idna = "3.15";
    jsonschema = "4.26.0";
    markdown-it-py = "4.2.0";
    opentelemetry-api = "1.41.1";
    orjson = "3.11.9";
    pydantic = "2.13.4";
    pygit2 = "1.19.2";
    pygments = "2.20.0";
    pyjwt = "2.12.1";
    python-multipart = "0.0.28";
    sse-starlette = "3.4.4";
    starlette = "1.0.0";
    textual = "8.2.6";
    tomli-w = "1.2.0";
    truststore = "0.10.4";
    typing-extensions = "4.15.0";
    typing-inspection = "0.4.2";
    uvicorn = "0.47.0";
    uvloop = "0.22.1";
    watchdog = "6.0.0";
  };

  scope =
    overrides:
    let
      base = lib.genAttrs [
        "blockbuster"
        "hypothesis"
        "mypy"
        "playwright"
        "pytest"
        "pytest-aiohttp"
        "pytest-asyncio"
        "pytest-timeout"
        "pytest-xdist"
        "setuptools"
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

  # Its machines are evaluated; nothing boots.
  test =
    all: given:
    let
      nixosSystem = import ./nixos.nix {
        inherit lib;
        packages.${system} = all;
      };
      machine =
        module:
        (nixosSystem {
          modules = [
            module
            { nixpkgs.hostPlatform = system; }
          ];
        }).config.system.build.toplevel;
    in
    run "vm-test-${given.name}" {
      machines = map machine (lib.attrValues (given.nodes or { } // given.containers or { }));
      inherit (given) testScript;
    } "";
in
lib.fix (
  all:
  lib.genAttrs [
    "bash"
    "bubblewrap"
    "cacert"
    "claude-code"
    "coreutils"
    "diffutils"
    "findutils"
    "gawk"
    "git"
    "gitMinimal"
    "gnugrep"
    "gnused"
    "gnutar"
    "gzip"
    "iproute2"
    "jq"
    "makeBinaryWrapper"
    "nftables"
    "nixfmt"
    "openssh"
    "procps"
    "ripgrep"
    "ruff"
    "systemd"
    "util-linux"
  ] (name: fake name "1.0" { })
  // {
    inherit lib;
    nix = fake "nix" "2.31" { };
    python3 = python (_: _: { });
    stdenv.hostPlatform = { inherit system; };
    buildEnv = { name, ... }: fake name "0" { };
    closureInfo = { rootPaths }: run "closure-info" { inherit rootPaths; } "";
    mkShell = _: fake "shell" "0" { };
    runCommand = run;
    testers.runNixOSTest = test all;
    writeShellScript = written "#!/bin/sh\n";
    writeText = written "";
  }
)
