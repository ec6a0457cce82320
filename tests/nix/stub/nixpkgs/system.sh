# Builds a system that a container can run: its init, and a switch that leaves units alone.
PATH=/usr/bin:/bin
mkdir -p "$out/bin"
printf '%s\n' "$configuration" >"$out/configuration.json"
if grep -q BREAKS_THE_BUILD "$out/configuration.json"; then
  echo "the builder gave up" >&2
  exit 1
fi
printf '%s' "$system" >"$out/system"
python3 "$generator" "$out/configuration.json" "$out"
cat >"$out/init" <<END
#!/bin/sh
ln -sfn $out /run/current-system
cp -r $out/etc/. /etc
exec /usr/lib/systemd/systemd
END
cat >"$out/bin/switch-to-configuration" <<END
#!/bin/sh
if grep -q BREAKS_THE_SWITCH $out/configuration.json; then
  echo "unit broken.service failed" >&2
  exit 4
fi
ln -sfn $out /run/current-system
END
chmod +x "$out/init" "$out/bin/switch-to-configuration"
