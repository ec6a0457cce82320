# Sourced by ./hive and ./check: the locked Python environment of this checkout, and
# Debian packages for root. Needs only python3 and git; says what it does on stderr.

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# The environment lies in the checkout, or in the user's cache when the checkout is somebody else's.
venv_dir() {
  local here=$1 cache=~/.cache # also where HOME is not set, as in a unit of systemd
  if [ -n "${HIVE_VENV:-}" ]; then
    printf '%s' "$HIVE_VENV"
  elif [ -w "$here" ] && { [ ! -e "$here/.venv" ] || [ -O "$here/.venv" ]; }; then
    printf '%s' "$here/.venv"
  else
    printf '%s/hyperhive/venv-%s' "${XDG_CACHE_HOME:-$cache}" \
      "$(printf '%s' "$here" | sha256sum | cut -c1-8)"
  fi
}

# have_packages PACKAGE...: on Debian as root, installs what is missing. Elsewhere does nothing:
# `hive doctor` and `./check` say what lacks.
have_packages() {
  local missing=() package
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && command -v dpkg-query >/dev/null || return 0
  for package; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return 0
  say "installing with apt-get: ${missing[*]}"
  (
    export DEBIAN_FRONTEND=noninteractive
    install_missing() { apt-get install -y -q --no-install-recommends "${missing[@]}"; }
    install_missing || { apt-get update -q && install_missing; }
  ) >&2 </dev/null || say "apt-get failed; going on without: ${missing[*]}"
}

# libgit2 does not load where no certificates are, though nothing here asks it for any.
mend_certificates() {
  [ -e /etc/ssl/certs ] || [ -e /etc/pki/tls ] || export SSL_CERT_DIR="${SSL_CERT_DIR:-/etc}"
}

# Prints a pip that runs from its wheel, for a Python without ensurepip. The wheel is Debian's
# python3-pip-whl: apt checks its hash against the signed index, and needs no root for that.
pip_wheel() {
  local at=$1 wheel
  command -v apt-get >/dev/null || die "this Python has no ensurepip: install your system's package for venv (python3-venv)"
  mkdir -p "$at/lists/partial" "$at/archives/partial"
  (
    cd "$at" || exit 1
    apt=(apt-get -q -o "Dir::State::Lists=$at/lists" -o "Dir::Cache=$at" -o APT::Sandbox::User=root)
    "${apt[@]}" update && "${apt[@]}" download python3-pip-whl && dpkg-deb -x python3-pip-whl_*.deb wheel
  ) >&2 </dev/null || die "could not get pip: install python3-venv, or python3-pip, and try again"
  wheel=$(ls "$at"/wheel/usr/share/python-wheels/pip-*.whl | head -n 1)
  printf '%s/pip' "$wheel"
}

# Whether a process runs from VENV. (The pattern goes by stdin: grep must not find itself.)
runs_from() { grep -qzxsF -f - /proc/[0-9]*/cmdline <<< "$1/bin/python"; }

# clear_venv VENV: what still runs from it goes on with the packages that it began with.
clear_venv() {
  if runs_from "$1"; then
    say "a process still runs from $1: its packages stay beside the new ones until it has ended"
    rm -rf "$1/bin" "$1/pyvenv.cfg" "$1"/hive.*
  else
    rm -rf "$1"
  fi
}

# make_venv VENV CHECKOUT LOCK...: the packages of the locks, by hash, and this checkout's own code.
make_venv() {
  local venv=$1 here=$2 python stamp origin pip lock held packages; shift 2
  python=$(python3 -V 2>&1 || echo none)
  origin="$venv, ${python%.*}" # its scripts and packages are for this place and Python alone
  stamp=$(cd "$here" && { printf '%s\n' "$origin" "$here"; sha256sum "$@"; } | sha256sum | cut -c1-32)
  [ "$(cat "$venv/hive.stamp-$#" 2>/dev/null)" = "$stamp" ] && return 0
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    die "hyperhive needs python3 of version 3.11 or newer; here is $python"
  mkdir -p "$(dirname "$venv")"
  if command -v flock >/dev/null; then # two at once would each remove what the other installs
    exec {held}<"$(dirname "$venv")"
    flock -n "$held" || { say "waiting for another process that prepares $venv"; flock "$held"; }
    if [ "$(cat "$venv/hive.stamp-$#" 2>/dev/null)" = "$stamp" ]; then
      exec {held}<&-
      return 0
    fi
  fi
  say "preparing the Python environment in $venv (once for each lock)"
  if { [ -e "$venv/hive.origin" ] && [ "$(cat "$venv/hive.origin")" != "$origin" ]; } ||
    ! "$venv/bin/python" -c '' 2>/dev/null; then
    clear_venv "$venv"
    python3 -m venv --without-pip "$venv" >&2 || die "python3 -m venv failed"
  fi
  printf '%s' "$origin" > "$venv/hive.origin"
  if "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    pip=(-m pip)
  elif "$venv/bin/python" -m ensurepip >/dev/null 2>&1; then
    pip=(-m pip)
  else
    pip=("$(pip_wheel "$venv/pip-wheel")") || exit 1
  fi
  for lock; do
    "$venv/bin/python" "${pip[@]}" install -q --disable-pip-version-check --no-input \
      --prefer-binary --require-hashes -r "$here/$lock" >&2 ||
      die "pip could not install $lock; the lines above say why"
  done
  rm -rf "$venv/pip-wheel"
  packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  printf '%s\n' "$here"/{wire,broker,gateway,harness,reconciler,dashboard} > "$packages/hyperhive.pth"
  runs_from "$venv" || # those of a former Python
    find "$venv/lib" -mindepth 1 -maxdepth 1 ! -path "$(dirname "$packages")" -exec rm -rf {} +
  printf '%s' "$stamp" > "$venv/hive.stamp-$#"
  [ -z "${held:-}" ] || exec {held}<&-
}
