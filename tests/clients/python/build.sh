#!/usr/bin/env bash
# Installs the stock C++ client (inside a Python wheel) into a virtual environment: build.sh [cache-dir]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${1:-${TIMBERMQ_CACHE:-$HOME/.cache/timbermq}/clients/python}
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock -w 600 9 || { echo "build.sh: another build has held $cache for ten minutes" >&2; exit 1; }
wanted=$(sha256sum <"$here/requirements.txt")
if [[ -e $cache/installed && $(<"$cache/installed") == "$wanted" ]] && "$cache/venv/bin/python" -c ''; then
  exit 0
fi
rm -rf "$cache/installed" "$cache/venv"
"${PYTHON:-python3}" -m venv "$cache/venv"
"$cache/venv/bin/python" -m pip install --quiet --no-deps --require-hashes -r "$here/requirements.txt" >&2
printf '%s\n' "$wanted" >"$cache/installed"
