#!/usr/bin/env bash
# Fetches Kafka's servers and the official Java clients of Kafka and RabbitMQ, and compiles the load that uses them.
#
#   tests/peers/java/build.sh [cache-dir]
#
# cache-dir defaults to ${TIMBERMQ_CACHE:-$HOME/.cache/timbermq}/peers; the result is <cache-dir>/java/{lib,classes}. Work
# already done is not repeated.
set -euo pipefail
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${1:-${TIMBERMQ_CACHE:-$HOME/.cache/timbermq}/peers}
for tool in java javac mvn flock; do
    command -v "$tool" >/dev/null || { echo "'$tool' is not installed (a JDK 17 or later, Maven and util-linux are needed)" >&2; exit 1; }
done
mkdir -p "$cache/java"
home=$(cd "$cache/java" && pwd)
exec 9>"$cache/.java-build.lock"
flock -w 600 9 || { echo "another build has held $cache for ten minutes" >&2; exit 1; }

pom_hash=$(sha256sum <"$here/pom.xml" | cut -c1-16)
if [ "$(cat "$home/lib.stamp" 2>/dev/null)" != "$pom_hash" ]; then
    echo "fetching Kafka and the Java clients" >&2
    rm -rf "$home/lib" "$home/lib.stamp" "$home/classes.stamp"
    mkdir -p "$home/lib"
    timeout 900 mvn -B -q -Dstyle.color=never -f "$here/pom.xml" \
        dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$home/lib" >&2
    echo "$pom_hash" >"$home/lib.stamp"
fi

mapfile -t files < <(find "$here/src" -name '*.java' | LC_ALL=C sort)
source_hash=$(cat "${files[@]}" | sha256sum | cut -c1-16)
if [ "$(cat "$home/classes.stamp" 2>/dev/null)" != "$pom_hash-$source_hash" ]; then
    echo "compiling the load" >&2
    rm -rf "$home/classes" "$home/classes.stamp"
    mkdir -p "$home/classes"
    timeout 300 javac -Xlint:all,-processing,-classfile,-path,-try -proc:none --release 17 \
        -cp "$home/lib/*" -d "$home/classes" "${files[@]}"
    echo "$pom_hash-$source_hash" >"$home/classes.stamp"
fi
