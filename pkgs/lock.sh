#!/usr/bin/env bash
# Makes requirements.lock and requirements-dev.lock from the pyproject files: versions and hashes,
# no addresses. Keeps the versions there are; --upgrade takes the newest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
uv=${UV:-.venv/bin/uv}
projects=({wire,broker,gateway,harness,reconciler,dashboard}/pyproject.toml)
names=$(sed -n 's/^name = "\(.*\)"/--no-emit-package \1/p' "${projects[@]}")
compile() {
  # shellcheck disable=SC2086 # words are wanted
  "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
    --no-annotate --no-emit-index-url --no-emit-find-links --all-extras $names \
    --override <(echo "hive-wire @ file://$PWD/wire") "${projects[@]}" "$@"
}
compile "$@" -o requirements.lock
compile "$@" --group pyproject.toml:dev -c requirements.lock -o requirements-dev.lock
