#!/bin/sh
# Stands in for the simulation: a node that starts and crashes as often as the seed says, and some seeds go wrong.
[ "$1" = seed ] && [ "$3" = --spec-trace ] || exit 2
n=0
while [ $n -lt "$2" ]; do
    echo '{"node":1,"event":"start"}'
    echo '{"node":1,"event":"crash"}'
    n=$((n + 1))
done >"$4"
case "$2" in
3) exit 1 ;;
5)
    printf '{"node":1,"ev' >>"$4"
    echo "thread 'main' panicked at x: y" >&2
    exit 101
    ;;
7) echo '{"node":1,"event":"became_leader","term":1}' >>"$4" ;;
esac
