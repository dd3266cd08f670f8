#!/bin/bash
# bench_mount.sh - the mount beside other file systems, in one run.
#
# Usage: bench/bench_mount.sh [--quick] [--rounds N] [--peer PROGRAM] [BUILD]
#
# What is measured, bench_mount.c says: on tmpfs, on the file system of
# $TMPDIR or /tmp, on a mount of ours over a tmpfs, and on libfuse's example
# passthrough_hp over another, if --peer names it. BUILD is a release build
# (build). Needs root, to mount.
set -euo pipefail

arguments=()
peer=
build=$(dirname "$0")/../build
while [ $# -gt 0 ]; do
    case $1 in
    --quick) arguments+=(--quick) ;;
    --rounds)
        arguments+=(--rounds "${2:?--rounds wants a number}")
        shift
        ;;
    --peer)
        peer=$(realpath "${2:?--peer wants a program}")
        shift
        ;;
    -h | --help)
        sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0"
        exit 0
        ;;
    -*)
        echo "bench_mount.sh: unknown option $1" >&2
        exit 2
        ;;
    *) build=$1 ;;
    esac
    shift
done

work=$(mktemp -d)
mounts=()
pids=()
finish() {
    local at
    for at in "${mounts[@]}"; do
        umount -l "$at" 2>/dev/null || true
    done
    for at in "${pids[@]}"; do
        kill "$at" 2>/dev/null || true
        wait "$at" 2>/dev/null || true
    done
    rm -rf --one-file-system "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

# mounted NAME COMMAND... - runs COMMAND, which mounts on $work/NAME.
mounted() {
    mkdir "$work/$1"
    mounts=("$work/$1" "${mounts[@]}")
    "${@:2}"
}

sides=()
mounted tmpfs mount -t tmpfs none "$work/tmpfs"
sides+=("tmpfs=$work/tmpfs")
mkdir "$work/disk"
sides+=("$(findmnt -no FSTYPE -T "$work/disk")=$work/disk")
mounted data mount -t tmpfs none "$work/data"
mkdir "$work/data/store"
mounted toonstore "$build/fuse/tstfs" "$work/data/store" "$work/toonstore"
sides+=("toonstore=$work/toonstore")
if [ -n "$peer" ]; then
    mounted source mount -t tmpfs none "$work/source"
    mounted peer true
    "$peer" --foreground "$work/source" "$work/peer" &
    pids+=($!)
    for ((i = 0; i < 50; i++)); do
        mountpoint -q "$work/peer" && break
        sleep 0.1
    done
    mountpoint -q "$work/peer"
    sides+=("passthrough_hp=$work/peer")
fi
"$build/bench/bench_mount" "${arguments[@]}" "${sides[@]}"
