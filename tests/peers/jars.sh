# Sourced by the build scripts beside it: locks <home> until the script ends, and fetches what <pom> names into <home>/lib
# unless that is there already. Sets home, as an absolute path, and pom_hash.
fetch_jars() { # pom, home, what
    local tool
    for tool in java mvn flock; do
        command -v "$tool" >/dev/null || { echo "'$tool' is not installed (a JDK, Maven and util-linux are needed)" >&2; return 1; }
    done
    mkdir -p "$2"
    home=$(cd "$2" && pwd)
    exec 9>"$home.lock"
    flock -w 600 9 || { echo "another build has held $home for ten minutes" >&2; return 1; }
    pom_hash=$(sha256sum <"$1" | cut -c1-16)
    [ "$(cat "$home/lib.stamp" 2>/dev/null)" = "$pom_hash" ] && return
    echo "fetching $3" >&2
    rm -rf "$home/lib" "$home/lib.stamp" "$home/classes.stamp"
    mkdir -p "$home/lib"
    timeout 900 mvn -B -q -Dstyle.color=never -f "$1" \
        dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$home/lib" >&2
    echo "$pom_hash" >"$home/lib.stamp"
}
