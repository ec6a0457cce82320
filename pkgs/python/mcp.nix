{
  lib,
  buildPythonPackage,
  fetchPypi,
  anyio,
  httpx2,
  jsonschema,
  mcp-types,
  opentelemetry-api,
  pydantic,
  pyjwt,
  python-multipart,
  sse-starlette,
  starlette,
  typing-extensions,
  typing-inspection,
  uvicorn,
}:

buildPythonPackage rec {
  pname = "mcp";
  version = "2.3.0";
  format = "wheel";

  src = fetchPypi {
    pname = "mcp";
    inherit version format;
    dist = "py3";
    python = "py3";
    hash = "sha256-3QxEwInRZFPorjGjh3oAVNeiMUyqqB9eBUG5sXNLI3c=";
  };

  dependencies = [
    anyio
    httpx2
    jsonschema
    mcp-types
    opentelemetry-api
    pydantic
    pyjwt
    python-multipart
    sse-starlette
    starlette
    typing-extensions
    typing-inspection
    uvicorn
  ]
  ++ pyjwt.optional-dependencies.crypto;

  pythonImportsCheck = [ "mcp.server" ];

  meta = {
    description = "Model Context Protocol SDK";
    license = lib.licenses.mit;
  };
}
