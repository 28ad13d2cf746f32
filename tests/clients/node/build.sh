#!/usr/bin/env bash
# Installs the stock Node client into a cache directory: build.sh [cache-dir]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${1:-${TIMBERMQ_CACHE:-$HOME/.cache/timbermq}/clients/node}
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock -w 600 9 || { echo "build.sh: another build has held $cache for ten minutes" >&2; exit 1; }
wanted=$(sha256sum <"$here/package-lock.json")
if [[ -e $cache/installed && $(<"$cache/installed") == "$wanted" ]]; then
  exit 0
fi
rm -f "$cache/installed"
cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$cache/"
cd "$cache"
npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier >&2
printf '%s\n' "$wanted" >installed
