# Before NixOS's own start of a container of ours. That makes directories in the container's file
# system, and sets their modes, as the host's root: where root inside put links, links lead it
# anywhere on the host. argv: the file system. HIVE_UID is in the environment of ours alone.
[ -n "${HIVE_UID-}" ] || exit 0
cd "$1" 2>/dev/null || exit 0
for place in etc etc/machine-id root var var/lib var/lib/private; do
  if [ -h "$place" ]; then
    rm -- "$place" || exit 1
  fi
done
