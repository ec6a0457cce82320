{
  outputs = _: {
    lib.evalModule = pkgs: settings: {
      config.build = {
        wrapper = pkgs.writeText "treefmt" (builtins.readFile settings);
        check = _: pkgs.writeText "treefmt-check" (builtins.readFile settings);
      };
    };
  };
}
