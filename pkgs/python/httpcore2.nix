{
  lib,
  buildPythonPackage,
  fetchPypi,
  h11,
  truststore,
}:

buildPythonPackage rec {
  pname = "httpcore2";
  version = "2.16.2";
  format = "wheel";

  src = fetchPypi {
    pname = "httpcore2";
    inherit version format;
    dist = "py3";
    python = "py3";
    hash = "sha256-FgUa4qQvd2AHVD8y3pNJoxeyPSy7ThRWtLrA6IuHQZo=";
  };

  dependencies = [
    h11
    truststore
  ];

  pythonImportsCheck = [ "httpcore2" ];

  meta = {
    description = "Minimal HTTP client";
    license = lib.licenses.bsd3;
  };
}
