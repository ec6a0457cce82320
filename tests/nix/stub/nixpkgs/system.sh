# Builds a system that a container can run: its init, and a switch that only notes itself.
PATH=/usr/bin:/bin
mkdir -p "$out/bin"
printf '%s\n' "$configuration" >"$out/configuration.json"
printf '%s' "$system" >"$out/system"
cat >"$out/init" <<EOF
#!/bin/sh
ln -sfn $out /run/current-system
exec /usr/lib/systemd/systemd
EOF
cat >"$out/bin/switch-to-configuration" <<EOF
#!/bin/sh
if grep -q BREAKS_THE_SWITCH $out/configuration.json; then
  echo "unit broken.service failed" >&2
  exit 4
fi
ln -sfn $out /run/current-system
EOF
chmod +x "$out/init" "$out/bin/switch-to-configuration"
