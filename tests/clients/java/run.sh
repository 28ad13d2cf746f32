#!/usr/bin/env bash
# Runs one driver of a stock Java client; the verbs and their output are in ../PROTOCOL.md.
#
#   tests/clients/java/run.sh <version> <verb> key=value…
#
# Environment: TIMBERMQ_CACHE (what build.sh made; default ~/.cache/timbermq), TIMBERMQ_DRIVER_STATE (folder for
# what the client itself keeps on disk: logs, offsets of broadcast consumers; default inside the cache),
# TIMBERMQ_JAVA_OPTS (more JVM options, for example -Drocketmq.serialize.type=ROCKETMQ).
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: run.sh <version> <verb> key=value…" >&2
    exit 2
fi
version=$1
shift
home="${TIMBERMQ_CACHE:-$HOME/.cache/timbermq}/clients/java-$version"
state="${TIMBERMQ_DRIVER_STATE:-$home/state}"
if [ ! -f "$home/classes.stamp" ]; then
    echo "run.sh: no driver for $version under $home; run tests/clients/java/build.sh first" >&2
    exit 2
fi
mkdir -p "$state/logs" "$state/offsets"

# The 4.x clients name their log folder rocketmq.client.logRoot, the 5.x ones rocketmq.log.root; both would
# otherwise write to ~/logs. The --add-opens let the old Netty and fastjson reach what Java 17 closed.
# shellcheck disable=SC2086
exec java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData \
    -XX:+ExitOnOutOfMemoryError \
    --add-opens=java.base/java.nio=ALL-UNNAMED --add-opens=java.base/sun.nio.ch=ALL-UNNAMED \
    --add-opens=java.base/java.lang=ALL-UNNAMED --add-opens=java.base/java.util=ALL-UNNAMED \
    --add-exports=java.base/jdk.internal.misc=ALL-UNNAMED \
    -Drocketmq.client.logUseSlf4j=false -Drocketmq.client.logRoot="$state/logs" \
    -Drocketmq.client.logFileMaxIndex=1 -Drocketmq.log.root="$state/logs" -Drocketmq.log.file.maxIndex=1 \
    -Drocketmq.client.localOffsetStoreDir="$state/offsets" \
    ${TIMBERMQ_JAVA_OPTS:-} \
    -cp "$home/classes:$home/lib/*" timbermq.clients.Main "$@"
