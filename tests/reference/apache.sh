#!/usr/bin/env bash
# Runs the stock Apache RocketMQ servers and their admin tool, which the tests compare with and talk to.
#
#   tests/reference/apache.sh build   [cache-dir]
#   tests/reference/apache.sh jars    [cache-dir]
#   tests/reference/apache.sh namesrv <port> <dir> [key=value…]
#   tests/reference/apache.sh broker  <namesrv> <port> <dir> [brokerName] [key=value…]
#   tests/reference/apache.sh mqadmin <command> [option…]         (give it -n <namesrv> as usual)
#
# build fetches the jars into <cache-dir>/apache-<version>; cache-dir defaults to ${TIMBERMQ_CACHE:-~/.cache/timbermq},
# where the others look for them; jars does that and prints their directory. Servers stay in the foreground until SIGTERM, listen on 127.0.0.1 only (but for
# the replication port, which knows no such setting), keep everything under <dir>, log to <dir>/logs, and print a line
# with "boot success" once they serve. A broker takes three ports: <port>, <port>-2 (the "VIP" port of old clients) and
# <port>+1 (replication). key=value pairs are added to the server's properties file, where the last one wins; a replica
# gets brokerId=1 brokerRole=SLAVE. TIMBERMQ_JAVA_OPTS adds JVM options.
set -euo pipefail
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=5.3.3
cache=${TIMBERMQ_CACHE:-$HOME/.cache/timbermq}

fail() { echo "apache.sh: $1" >&2; exit 2; }

usage() { sed -n '4,8s/^#   //p' "${BASH_SOURCE[0]}" >&2; exit 2; }

build() {
    cache=${1:-$cache}
    for tool in java mvn flock; do
        command -v "$tool" >/dev/null || fail "'$tool' is not installed (a JDK 11 or later, Maven and util-linux are needed)"
    done
    mkdir -p "$cache"
    exec 9>"$cache/.apache-build.lock"
    flock -w 600 9 || fail "another build has held $cache for ten minutes"
    local home="$cache/apache-$version" hash
    hash=$(sha256sum <"$here/pom.xml" | cut -c1-16)
    [ "$(cat "$home/lib.stamp" 2>/dev/null)" = "$hash" ] && return
    echo "fetching the Apache RocketMQ $version servers" >&2
    rm -rf "$home"
    mkdir -p "$home/lib"
    timeout 900 mvn -B -q -Dstyle.color=never -f "$here/pom.xml" -Drocketmq.version="$version" \
        dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$home/lib" >&2
    echo "$hash" >"$home/lib.stamp"
}

# Found first on the class path, this keeps the servers from logging to the console and to a dozen files.
logback() { # file, log file
    local package=org.apache.rocketmq.logging.ch.qos.logback.core
    cat >"$1" <<EOF
<configuration>
  <statusListener class="$package.status.NopStatusListener"/>
  <appender name="file" class="$package.FileAppender">
    <file>$2</file>
    <encoder><pattern>%d{HH:mm:ss.SSS} %-5p [%t] %logger{0} - %m%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="file"/></root>
</configuration>
EOF
}

java_server() { # dir, heap, main class, arguments…
    local dir=$1 heap=$2
    shift 2
    export ROCKETMQ_HOME="$dir"
    # shellcheck disable=SC2086
    exec java "-Xmx$heap" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData -XX:MaxDirectMemorySize=512m \
        --add-opens=java.base/java.nio=ALL-UNNAMED --add-opens=java.base/sun.nio.ch=ALL-UNNAMED \
        --add-exports=java.base/jdk.internal.ref=ALL-UNNAMED --add-opens=java.base/java.lang=ALL-UNNAMED \
        -Drocketmq.home.dir="$dir" -Duser.home="$dir" -Drocketmq.log.root="$dir/logs" \
        -Dcom.rocketmq.remoting.client.closeSocketIfTimeout=true \
        ${TIMBERMQ_JAVA_OPTS:-} -cp "$dir/conf:$cache/apache-$version/lib/*" "$@"
}

prepare() { # dir, component → absolute dir in $dir
    [ -f "$cache/apache-$version/lib.stamp" ] || fail "no jars under $cache; run apache.sh build first"
    mkdir -p "$1/conf" "$1/logs"
    dir=$(cd "$1" && pwd)
    logback "$dir/conf/rmq.logback.xml" "$dir/logs/$2.log"
    logback "$dir/conf/rmq.client.logback.xml" "$dir/logs/client.log"
}

[ $# -ge 1 ] || usage
verb=$1
shift
case $verb in
build)
    build "$@"
    ;;
jars)
    build "$@"
    echo "$cache/apache-$version/lib"
    ;;
namesrv)
    [ $# -ge 2 ] || usage
    port=$1
    prepare "$2" namesrv
    shift 2
    {
        echo "listenPort=$port"
        echo "bindAddress=127.0.0.1"
        echo "rocketmqHome=$dir"
        echo "kvConfigPath=$dir/kvConfig.json"
        echo "configStorePath=$dir/namesrv.properties"
        printf '%s\n' "$@"
    } >"$dir/conf/namesrv.conf"
    java_server "$dir" 256m org.apache.rocketmq.namesrv.NamesrvStartup -c "$dir/conf/namesrv.conf"
    ;;
broker)
    [ $# -ge 3 ] || usage
    namesrv=$1 port=$2
    prepare "$3" broker
    shift 3
    name=broker-a
    if [ $# -gt 0 ] && [[ $1 != *=* ]]; then
        name=$1
        shift
    fi
    # Small files and few threads: the defaults would map gigabytes.
    {
        cat <<EOF
brokerClusterName=DefaultCluster
brokerName=$name
brokerId=0
namesrvAddr=$namesrv
brokerIP1=127.0.0.1
brokerIP2=127.0.0.1
bindAddress=127.0.0.1
listenPort=$port
haListenPort=$((port + 1))
storePathRootDir=$dir/store
storePathCommitLog=$dir/store/commitlog
brokerRole=ASYNC_MASTER
flushDiskType=ASYNC_FLUSH
mappedFileSizeCommitLog=16777216
mappedFileSizeConsumeQueue=120000
maxHashSlotNum=5000
maxIndexNum=20000
timerWheelEnable=false
warmMapedFileEnable=false
diskMaxUsedSpaceRatio=95
autoCreateTopicEnable=true
autoCreateSubscriptionGroup=true
EOF
        printf '%s\n' "$@"
    } >"$dir/conf/broker.conf"
    java_server "$dir" 512m org.apache.rocketmq.broker.BrokerStartup -c "$dir/conf/broker.conf"
    ;;
mqadmin)
    [ $# -ge 1 ] || usage
    prepare "${TIMBERMQ_DRIVER_STATE:-$cache/apache-$version/mqadmin}" tools
    java_server "$dir" 256m org.apache.rocketmq.tools.command.MQAdminStartup "$@"
    ;;
*)
    usage
    ;;
esac
