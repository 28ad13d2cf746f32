#!/usr/bin/env bash
# Runs the driver of the stock Rust client: run.sh <verb> key=value…
# The client keeps broadcast offsets below HOME, so HOME is TIMBERMQ_DRIVER_STATE.
set -euo pipefail
cache=${TIMBERMQ_CACHE:-$HOME/.cache/timbermq}/clients/rust
state=${TIMBERMQ_DRIVER_STATE:-$cache/state}
mkdir -p "$state"
export HOME=$state
exec "$cache/driver" "$@"
