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
. "$here/../jars.sh"
cache=${1:-${TIMBERMQ_CACHE:-$HOME/.cache/timbermq}/peers}
command -v javac >/dev/null || { echo "'javac' is not installed (a JDK 17 or later is needed)" >&2; exit 1; }
fetch_jars "$here/pom.xml" "$cache/java" "Kafka and the Java clients"

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
