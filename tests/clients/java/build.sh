#!/usr/bin/env bash
# Fetches the stock Java clients and compiles the driver against each.
#
#   tests/clients/java/build.sh [cache-dir] [version…]
#
# cache-dir defaults to ${TIMBERMQ_CACHE:-$HOME/.cache/timbermq}/clients; the result is
# <cache-dir>/java-<version>/{lib,classes}. Work already done is not repeated, so a second run is quick.
set -euo pipefail
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${1:-${TIMBERMQ_CACHE:-$HOME/.cache/timbermq}/clients}
shift || true
if [ $# -gt 0 ]; then versions=("$@"); else versions=(4.4.0 4.9.8 5.3.3); fi

for tool in java javac mvn flock; do
    command -v "$tool" >/dev/null || { echo "build.sh: '$tool' is not installed (a JDK 11 or later, Maven and util-linux are needed)" >&2; exit 1; }
done
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
exec 9>"$cache/.java-build.lock"
flock -w 600 9 || { echo "build.sh: another build has held $cache for ten minutes" >&2; exit 1; }

for version in "${versions[@]}"; do
    home="$cache/java-$version"
    pom_hash=$(sha256sum <"$here/pom.xml" | cut -c1-16)
    if [ "$(cat "$home/lib.stamp" 2>/dev/null)" != "$pom_hash" ]; then
        echo "fetching rocketmq-client $version" >&2
        rm -rf "$home/lib" "$home/lib.stamp" "$home/classes.stamp"
        mkdir -p "$home/lib"
        timeout 900 mvn -B -q -Dstyle.color=never -f "$here/pom.xml" -Drocketmq.version="$version" \
            dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$home/lib" >&2
        echo "$pom_hash" >"$home/lib.stamp"
    fi

    # Lite pull and request-reply came with 4.6; the driver uses their 4.9 form.
    case "$version" in
        4.[0-8].*) sources=("$here/src/common" "$here/src/before-4.9") ;;
        *)         sources=("$here/src/common" "$here/src/since-4.9") ;;
    esac
    mapfile -t files < <(find "${sources[@]}" -name '*.java' | LC_ALL=C sort)
    source_hash=$(cat "${files[@]}" | sha256sum | cut -c1-16)
    if [ "$(cat "$home/classes.stamp" 2>/dev/null)" != "$pom_hash-$source_hash" ]; then
        echo "compiling the driver for $version" >&2
        rm -rf "$home/classes" "$home/classes.stamp"
        mkdir -p "$home/classes"
        # The pull consumer and some admin calls are deprecated in 5.x; old users still have them.
        # -proc:none: annotation processors on the clients' class path are not wanted.
        timeout 300 javac -nowarn -Xlint:-options -Xlint:-deprecation -proc:none --release 11 \
            -cp "$home/lib/*" -d "$home/classes" "${files[@]}" 2> >(grep -v '^Note: ' >&2)
        echo "$pom_hash-$source_hash" >"$home/classes.stamp"
    fi
done
