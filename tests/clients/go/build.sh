#!/usr/bin/env bash
# Builds the driver of the stock Go client into a cache directory: build.sh [cache-dir]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${1:-${TIMBERMQ_CACHE:-$HOME/.cache/timbermq}/clients/go}
mkdir -p "$cache"
cd "$here"
go build -mod=readonly -buildvcs=false -trimpath -o "$cache/driver" . >&2
