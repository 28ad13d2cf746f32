#!/usr/bin/env bash
# Runs the driver of the stock Go client: run.sh <verb> key=value…
# The client's own log and its broadcast offsets go to TIMBERMQ_DRIVER_STATE.
set -euo pipefail
cache=${TIMBERMQ_CACHE:-$HOME/.cache/timbermq}/clients/go
state=${TIMBERMQ_DRIVER_STATE:-$cache/state}
mkdir -p "$state"
export DRIVER_LOG=$state/client.log
exec env "rocketmq.client.localOffsetStoreDir=$state/offsets" "$cache/driver" "$@"
