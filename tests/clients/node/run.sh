#!/usr/bin/env bash
# Runs the driver of the stock Node client: run.sh <verb> key=value…
# The client's own log goes to TIMBERMQ_DRIVER_STATE.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${TIMBERMQ_CACHE:-$HOME/.cache/timbermq}/clients/node
state=${TIMBERMQ_DRIVER_STATE:-$cache/state}
mkdir -p "$state"
export NODE_PATH=$cache/node_modules DRIVER_LOG=$state/client.log
exec node "$here/driver.js" "$@"
