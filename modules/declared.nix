# The systems of a swarm that the host's own configuration builds, with what each was made from:
# the reconciler compares that with what was approved, and builds nothing.
{
  lib,
  src,
  systems,
}:
let
  # Paths of all files below a directory of `src`.
  below =
    directory:
    let
      entries = if builtins.pathExists (src + "/${directory}") then readDir directory else { };
      readDir = path: builtins.readDir (src + "/${path}");
    in
    lib.concatMap (
      name:
      if entries.${name} == "directory" then below "${directory}/${name}" else [ "${directory}/${name}" ]
    ) (lib.attrNames entries);

  # agent.toml and the role text make no system; role and engine of agent.toml stand beside.
  own =
    name:
    let
      spec = builtins.fromTOML (builtins.readFile (src + "/agents/${name}/agent.toml"));
      ignored = map (file: "agents/${name}/${file}") [
        "agent.toml"
        (spec.prompt or "prompt.md")
      ];
    in
    lib.filter (path: !lib.elem path ignored) (below "agents/${name}");

  one =
    system:
    let
      agent = system.config.services.hive-agent;
    in
    {
      inherit (agent) engine role;
      system = "${system.config.system.build.toplevel}";
      files = lib.genAttrs (own agent.name ++ below "modules") (
        path: builtins.hashFile "sha256" (src + "/${path}")
      );
    };
in
lib.mapAttrs (_: one) systems
