# Programs of an application that run this checkout's code, where a test has bound it and what it
# depends on under /usr/src; the harness gets its own two packages and nothing beside them.
PATH=/usr/bin:/bin
mkdir -p "$out/bin"
case $pname in
  hive-harness) path=/usr/src/hive/harness:/usr/src/hive/wire ;;
  *)
    path=/usr/src/python
    for part in wire broker gateway harness reconciler dashboard; do
      path=$path:/usr/src/hive/$part
    done
    ;;
esac
program() {
  printf '#!/bin/sh\nPYTHONPATH=%s exec /usr/bin/python3 -m %s "$@"\n' "$path" "$2" >"$out/bin/$1"
  chmod +x "$out/bin/$1"
}
case $pname in
  hive-c0re)
    program hive-c0re hive_reconciler.app.daemon
    program hive hive_reconciler.app.cli
    ;;
  *) program "$pname" "$(printf '%s' "$pname" | tr - _)" ;;
esac
