# What nixpkgs' Python set lacks or has too old: pure-Python wheels with the hashes of
# requirements.lock.
final: _prev: {
  httpcore2 = final.callPackage ./httpcore2.nix { };
  httpx2 = final.callPackage ./httpx2.nix { };
  mcp = final.callPackage ./mcp.nix { };
  mcp-types = final.callPackage ./mcp-types.nix { };
}
