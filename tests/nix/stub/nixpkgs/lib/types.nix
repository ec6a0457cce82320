# Option types: { name; check; merge = location: values; }.
{ mergeDefinitions, mergeValues, isDerivation, flatten }:
let
  inherit (builtins)
    all
    any
    concatLists
    concatMap
    concatStringsSep
    elem
    filter
    head
    isAttrs
    isBool
    isInt
    isList
    isString
    mapAttrs
    match
    tail
    toJSON
    zipAttrsWith
    ;

  same = location: values:
    if any (value: value != head values) (tail values) then
      throw "The option `${concatStringsSep "." location}' has conflicting definition values"
    else
      head values;

  one = name: check: {
    inherit name check;
    merge = same;
  };

  types = rec {
    bool = one "boolean" isBool;
    int = one "signed integer" isInt;
    str = one "string" isString;
    raw = one "raw value" (_: true);
    port = ints.between 0 65535;
    ints.between = low: high:
      one "integer between ${toString low} and ${toString high} (both inclusive)" (
        value: isInt value && value >= low && value <= high
      );
    enum = values: one "one of ${toJSON values}" (value: elem value values);
    strMatching = pattern:
      one "string matching the pattern ${pattern}" (
        value: isString value && match pattern value != null
      );
    package = one "package" isDerivation;
    path = one "absolute path" (value: match "/.*" "${value}" != null);

    nullOr = type: {
      name = "null or ${type.name}";
      check = value: value == null || type.check value;
      merge = location: values:
        if all (value: value == null) values then null else type.merge location values;
    };

    listOf = type: {
      name = "list of ${type.name}";
      check = isList;
      merge = location: values:
        concatMap (map (value: mergeValues (location ++ [ "*" ]) type [ value ])) values;
    };

    attrsOf = type: {
      name = "attribute set of ${type.name}";
      check = isAttrs;
      merge = location: values:
        let
          named = zipAttrsWith (_: definitions: definitions) values;
          live = builtins.removeAttrs named (
            filter (name: concatMap flatten named.${name} == [ ]) (builtins.attrNames named)
          );
        in
        mapAttrs (name: mergeDefinitions (location ++ [ name ]) type) live;
    };

    anything = {
      name = "anything";
      check = _: true;
      merge = location: values:
        let
          value = head values;
        in
        if isAttrs value && !(isDerivation value) then
          (attrsOf anything).merge location values
        else if isList value then
          if all (other: other == value) values then value else concatLists values
        else
          same location values;
    };
  };
in
types
