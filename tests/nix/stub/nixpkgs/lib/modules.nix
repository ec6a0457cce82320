# evalModules, small: imports, options, config, mkIf, mkMerge, priorities; unknown options and
# wrong types are errors.
let
  inherit (builtins)
    attrNames
    concatLists
    concatMap
    concatStringsSep
    deepSeq
    filter
    foldl'
    functionArgs
    isAttrs
    isFunction
    isPath
    isString
    mapAttrs
    ;

  show = concatStringsSep ".";
  isDerivation = value: isAttrs value && value.type or "" == "derivation";
  tag = value: if isAttrs value then value._type or "" else "";
  isOption = value: tag value == "option";

  # A definition as { priority; value; }s, conditions and merges resolved.
  flatten =
    definition:
    let
      kind = tag definition;
    in
    if kind == "if" then
      if definition.condition then flatten definition.content else [ ]
    else if kind == "merge" then
      concatMap flatten definition.contents
    else if kind == "override" then
      map (each: each // { inherit (definition) priority; }) (flatten definition.content)
    else
      [
        {
          priority = 100;
          value = definition;
        }
      ];

  # Moves a tag one level down into an attribute set, without looking at its condition.
  push =
    definition:
    let
      kind = tag definition;
    in
    if kind == "merge" then
      concatMap push definition.contents
    else if kind == "if" || kind == "override" then
      map (mapAttrs (_: content: definition // { inherit content; })) (push definition.content)
    else
      [ definition ];

  strongest =
    definitions:
    let
      least = foldl' (a: x: if x.priority < a then x.priority else a) 9999 definitions;
    in
    map (x: x.value) (filter (x: x.priority == least) definitions);

  mergeValues =
    location: type: values:
    if filter (value: !(type.check value)) values != [ ] then
      throw "A definition for option `${show location}' is not of type `${type.description}'"
    else
      type.merge location values;

  mergeDefinitions =
    location: type: definitions:
    mergeValues location type (strongest (concatMap flatten definitions));

  evaluate =
    location: options: definitions:
    mapAttrs (
      name: option:
      let
        here = location ++ [ name ];
        mine = map (d: d.${name}) (filter (d: d ? ${name}) (concatMap push definitions));
        apply = option.apply or (value: value);
      in
      if !(isOption option) then
        evaluate here option mine
      else if concatMap flatten mine != [ ] then
        apply (mergeDefinitions here option.type mine)
      else if option ? default then
        apply (mergeDefinitions here option.type [ option.default ])
      else
        throw "The option `${show here}' was accessed but has no value defined. Try setting the option."
    ) options;

  unknown =
    location: options: definition:
    concatMap (
      name:
      let
        here = location ++ [ name ];
        option = options.${name} or null;
      in
      if option == null then
        throw "The option `${show here}' does not exist"
      else if isOption option then
        [ ]
      else
        concatMap (unknown here option) (push definition.${name})
    ) (attrNames definition);

  merge =
    left: right:
    left
    // mapAttrs (
      name: value:
      if !(left ? ${name}) then
        value
      else if isOption value || isOption left.${name} then
        throw "The option `${name}' is declared twice"
      else
        merge left.${name} value
    ) right;
in
{
  inherit
    flatten
    isDerivation
    mergeDefinitions
    mergeValues
    ;

  evalModules =
    {
      lib,
      modules,
      specialArgs ? { },
    }:
    let
      arguments = {
        inherit lib config options;
      }
      // specialArgs;

      call =
        module:
        let
          loaded = if isPath module || isString module then import module else module;
          wanted = mapAttrs (name: _: arguments.${name} or config._module.args.${name}) (functionArgs loaded);
        in
        if isFunction loaded then loaded (arguments // wanted) else loaded;

      normal =
        module:
        let
          body = call module;
          structured = body ? config || body ? options;
        in
        concatMap normal (body.imports or [ ])
        ++ [
          {
            options = if structured then body.options or { } else { };
            config = if structured then body.config or { } else removeAttrs body [ "imports" ];
          }
        ];

      all = concatLists (map normal modules);
      options = foldl' merge {
        _module.args = {
          _type = "option";
          type =
            (import ./types.nix {
              inherit
                flatten
                isDerivation
                mergeDefinitions
                mergeValues
                ;
            }).attrsOf
              {
                name = "raw value";
                check = _: true;
                merge = _: builtins.head;
              };
          default = { };
        };
      } (map (module: module.options) all);
      definitions = map (module: module.config) all;
      config = evaluate [ ] options definitions;
      strange = concatMap (unknown [ ] options) (concatMap push definitions);
    in
    {
      inherit options;
      config = deepSeq strange config;
    };
}
