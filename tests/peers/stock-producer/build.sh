#!/usr/bin/env bash
# Fetches the examples of Apache RocketMQ, its producer for benchmarks among them.
#
#   tests/peers/stock-producer/build.sh [cache-dir]
#
# cache-dir defaults to ${TIMBERMQ_CACHE:-$HOME/.cache/timbermq}/peers; the result is <cache-dir>/stock-producer/lib. Work
# already done is not repeated.
set -euo pipefail
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../jars.sh"
cache=${1:-${TIMBERMQ_CACHE:-$HOME/.cache/timbermq}/peers}
fetch_jars "$here/pom.xml" "$cache/stock-producer" "the stock producer"
