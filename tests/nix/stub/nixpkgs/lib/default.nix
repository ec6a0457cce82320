# A stand-in for nixpkgs' lib: only what this repository uses, with the same results and the
# same words in its errors.
let
  modules = import ./modules.nix;
  types = import ./types.nix {
    inherit (modules)
      flatten
      isDerivation
      mergeDefinitions
      mergeValues
      ;
  };
  priority = level: content: {
    _type = "override";
    priority = level;
    inherit content;
  };

  lib = builtins // {
    inherit types lib;
    evalModules = arguments: modules.evalModules ({ inherit lib; } // arguments);

    mkOption = option: option // { _type = "option"; };
    mkEnableOption =
      what:
      lib.mkOption {
        type = types.bool;
        default = false;
        example = true;
        description = "Whether to enable ${what}.";
      };
    mkIf = condition: content: {
      _type = "if";
      inherit condition content;
    };
    mkMerge = contents: {
      _type = "merge";
      inherit contents;
    };
    mkOverride = priority;
    mkDefault = priority 1000;
    mkForce = priority 50;
    literalExpression = text: {
      _type = "literalExpression";
      inherit text;
    };

    fix =
      f:
      let
        x = f x;
      in
      x;
    importTOML = file: builtins.fromTOML (builtins.readFile file);
    nameValuePair = name: value: { inherit name value; };
    genAttrs = names: f: lib.listToAttrs (map (name: lib.nameValuePair name (f name)) names);
    mapAttrsToList = f: set: map (name: f name set.${name}) (lib.attrNames set);
    mapAttrs' = f: set: lib.listToAttrs (lib.mapAttrsToList f set);
    filterAttrs =
      keep: set: lib.removeAttrs set (lib.filter (name: !(keep name set.${name})) (lib.attrNames set));
    optionalAttrs = condition: set: if condition then set else { };
    optional = condition: value: if condition then [ value ] else [ ];
    optionals = condition: values: if condition then values else [ ];
    unique = lib.foldl' (seen: value: if lib.elem value seen then seen else seen ++ [ value ]) [ ];

    splitString =
      separator: text:
      lib.filter lib.isString (lib.split (lib.replaceStrings [ "." ] [ "\\." ] separator) text);
    concatStrings = lib.concatStringsSep "";
    concatMapStrings = f: values: lib.concatStrings (map f values);
    concatLines = lib.concatMapStrings (line: line + "\n");
    hasPrefix = prefix: text: lib.substring 0 (lib.stringLength prefix) text == prefix;
    removePrefix =
      prefix: text:
      if lib.hasPrefix prefix text then
        lib.substring (lib.stringLength prefix) (lib.stringLength text) text
      else
        text;
    toIntBase10 = lib.fromJSON;
    escapeShellArg =
      value:
      let
        text = toString value;
      in
      if builtins.match "[[:alnum:],._+:@%/-]+" text != null then
        text
      else
        "'${lib.replaceStrings [ "'" ] [ "'\\''" ] text}'";
    escapeShellArgs = lib.concatMapStringsSep " " lib.escapeShellArg;
    concatMapStringsSep =
      separator: f: values:
      lib.concatStringsSep separator (map f values);

    versionAtLeast = a: b: lib.compareVersions a b != -1;

    getName = package: package.pname or package.name;
    getExe' = package: program: "${package}/bin/${program}";
    makeBinPath = lib.concatMapStringsSep ":" (package: "${package}/bin");

    licenses = {
      bsd3.spdxId = "BSD-3-Clause";
      mit.spdxId = "MIT";
    };
    platforms.linux = [
      "aarch64-linux"
      "x86_64-linux"
    ];
  };
in
lib
