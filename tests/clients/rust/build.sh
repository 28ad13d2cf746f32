#!/usr/bin/env bash
# Builds the driver of the stock Rust client: build.sh [cache-dir]
# The first build compiles about 300 crates; CARGO_TARGET_DIR may point to a target directory that is kept.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
base=${TIMBERMQ_CACHE:-$HOME/.cache/timbermq}
cache=${1:-$base/clients/rust}
mkdir -p "$cache"
export CARGO_TARGET_DIR=${CLIENT_RUST_TARGET:-$base/client-rust-target}
cd "$here"
nice -n 10 cargo build --release --locked --quiet >&2
cp --update "$CARGO_TARGET_DIR/release/timbermq-client-rust" "$cache/driver"
