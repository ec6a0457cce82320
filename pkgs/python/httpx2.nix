{
  lib,
  buildPythonPackage,
  fetchPypi,
  anyio,
  httpcore2,
  idna,
  truststore,
}:

buildPythonPackage rec {
  pname = "httpx2";
  version = "2.16.2";
  format = "wheel";

  src = fetchPypi {
    pname = "httpx2";
    inherit version format;
    dist = "py3";
    python = "py3";
    hash = "sha256-8FwTqt5MRdvxyQYGR6EFjwrK1iOY+tludBJp7bM9RvU=";
  };

  dependencies = [
    anyio
    httpcore2
    idna
    truststore
  ];

  # It wants 3.18, which is newer than nixos-26.05.
  pythonRelaxDeps = [ "idna" ];

  pythonImportsCheck = [ "httpx2" ];

  meta = {
    description = "HTTP client";
    license = lib.licenses.bsd3;
  };
}
