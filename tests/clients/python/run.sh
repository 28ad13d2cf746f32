#!/usr/bin/env bash
# Runs the driver of the stock C++ client: run.sh <verb> key=value…
# The library writes its log and its broadcast offsets below HOME, so HOME is TIMBERMQ_DRIVER_STATE.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${TIMBERMQ_CACHE:-$HOME/.cache/timbermq}/clients/python
state=${TIMBERMQ_DRIVER_STATE:-$cache/state}
mkdir -p "$state"
export HOME=$state PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
exec "$cache/venv/bin/python" "$here/driver.py" "$@"
