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
    name: attributes: _:
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

  # As in nixos-26.05, as far as it matters.
  versions = {
    aiohttp = "3.13.5";
    aiosqlite = "0.21.0";
    markdown-it-py = "4.0.0";
    orjson = "3.11.4";
    pydantic = "2.12.5";
    pygit2 = "1.19.0";
    pygments = "2.19.2";
    textual = "8.2.3";
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
    "bubblewrap"
    "claude-code"
    "coreutils"
    "git"
    "gitMinimal"
    "gnugrep"
    "gnutar"
    "iproute2"
    "jq"
    "makeBinaryWrapper"
    "nftables"
    "nixfmt"
    "openssh"
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
    closureInfo = { rootPaths }: run "closure-info" { inherit rootPaths; } "";
    mkShell = _: fake "shell" "0" { };
    runCommand = run;
    testers.runNixOSTest = test all;
    writeShellScript = written "#!/bin/sh\n";
    writeText = written "";
  }
)
