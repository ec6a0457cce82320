# Option types: { description; check; merge = location: values; }.
{
  mergeDefinitions,
  mergeValues,
  isDerivation,
  flatten,
}:
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

  same =
    location: values:
    if any (value: value != head values) (tail values) then
      throw "The option `${concatStringsSep "." location}' has conflicting definition values"
    else
      head values;

  one = description: check: {
    inherit description check;
    merge = same;
  };

  types = rec {
    bool = one "boolean" isBool;
    int = one "signed integer" isInt;
    str = one "string" isString;
    raw = one "raw value" (_: true);
    port = between "16 bit unsigned integer; " 0 65535;
    ints.between = between "integer ";
    between =
      what: low: high:
      one "${what}between ${toString low} and ${toString high} (both inclusive)" (
        value: isInt value && value >= low && value <= high
      );
    enum = values: one "one of ${concatStringsSep ", " (map toJSON values)}" (value: elem value values);
    strMatching =
      pattern:
      one "string matching the pattern ${pattern}" (value: isString value && match pattern value != null);
    package = one "package" isDerivation;
    path = one "absolute path" (value: match "/.*" "${value}" != null);

    nullOr = type: {
      description = "null or ${type.description}";
      check = value: value == null || type.check value;
      merge =
        location: values: if all (value: value == null) values then null else type.merge location values;
    };

    listOf = type: {
      description = "list of ${type.description}";
      check = isList;
      merge = location: concatMap (map (value: mergeValues (location ++ [ "*" ]) type [ value ]));
    };

    attrsOf = type: {
      description = "attribute set of ${type.description}";
      check = isAttrs;
      merge =
        location: values:
        let
          named = zipAttrsWith (_: definitions: definitions) values;
          live = builtins.removeAttrs named (
            filter (name: concatMap flatten named.${name} == [ ]) (builtins.attrNames named)
          );
        in
        mapAttrs (name: mergeDefinitions (location ++ [ name ]) type) live;
    };

    anything = {
      description = "anything";
      check = _: true;
      merge =
        location: values:
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
