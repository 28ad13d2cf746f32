#!/usr/bin/env bash
# Builds the NATS server and the load that uses its official client: build.sh [cache-dir]
#
# cache-dir defaults to ${TIMBERMQ_CACHE:-$HOME/.cache/timbermq}/peers; the result is <cache-dir>/go/{nats-server,load}.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${1:-${TIMBERMQ_CACHE:-$HOME/.cache/timbermq}/peers}
mkdir -p "$cache/go"
cd "$here"
timeout 1200 go build -mod=readonly -buildvcs=false -trimpath -o "$cache/go/nats-server" github.com/nats-io/nats-server/v2 >&2
timeout 600 go build -mod=readonly -buildvcs=false -trimpath -o "$cache/go/load" . >&2
