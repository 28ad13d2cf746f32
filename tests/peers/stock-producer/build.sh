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
cache=${1:-${TIMBERMQ_CACHE:-$HOME/.cache/timbermq}/peers}
for tool in java mvn flock; do
    command -v "$tool" >/dev/null || { echo "'$tool' is not installed (a JDK 11 or later, Maven and util-linux are needed)" >&2; exit 1; }
done
mkdir -p "$cache/stock-producer"
home=$(cd "$cache/stock-producer" && pwd)
exec 9>"$cache/.stock-producer-build.lock"
flock -w 600 9 || { echo "another build has held $cache for ten minutes" >&2; exit 1; }

hash=$(sha256sum <"$here/pom.xml" | cut -c1-16)
[ "$(cat "$home/lib.stamp" 2>/dev/null)" = "$hash" ] && exit
echo "fetching the stock producer" >&2
rm -rf "$home/lib" "$home/lib.stamp"
mkdir -p "$home/lib"
timeout 900 mvn -B -q -Dstyle.color=never -f "$here/pom.xml" \
    dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$home/lib" >&2
echo "$hash" >"$home/lib.stamp"
