#!/bin/bash
# bench_server.sh - tstd beside redis-server, in one run.
#
# Usage: bench/bench_server.sh [--quick] [--rounds N] [TSTD]
#
# Both append every write to a file and sync it once a second, and listen on
# free ports of the loopback interface, with their files in a temporary
# directory. redis-benchmark drives one, then the other, round after round, 50
# connections, 100-byte values, 100,000 keys. What counts are the ratios: of
# the medians of requests a second, and of processor time a request, summed
# over all rounds.
set -euo pipefail

rounds=5
requests=([1]=200000 [16]=1000000) # for each size of a pipeline
tstd=
while [ $# -gt 0 ]; do
    case $1 in
    --quick) requests=([1]=50000 [16]=300000) ;;
    --rounds)
        rounds=${2:?--rounds wants a number}
        shift
        ;;
    -h | --help)
        sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0"
        exit 0
        ;;
    -*)
        echo "bench_server.sh: unknown option $1" >&2
        exit 2
        ;;
    *) tstd=$1 ;;
    esac
    shift
done
tstd=${tstd:-$(dirname "$0")/../build/server/tstd}

for program in "$tstd" redis-server redis-benchmark redis-cli; do
    if ! command -v "$program" >/dev/null; then
        echo "bench_server.sh: there is no $program" >&2
        exit 2
    fi
done

work=$(mktemp -d)
declare -A pid port rates ticks
finish() {
    for name in "${!pid[@]}"; do
        kill "${pid[$name]}" 2>/dev/null || true
        wait "${pid[$name]}" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

# start NAME COMMAND... - COMMAND gets "--port PORT"; sets pid and port.
start() {
    local name=$1 try i
    shift
    for try in 1 2 3 4 5 6 7 8 9; do
        port[$name]=$((20000 + RANDOM % 30000))
        mkdir -p "$work/$name-$try"
        (cd "$work/$name-$try" && exec "$@" --port "${port[$name]}") \
            >"$work/$name.log" 2>&1 &
        pid[$name]=$!
        for ((i = 0; i < 50; i++)); do
            sleep 0.1
            kill -0 "${pid[$name]}" 2>/dev/null || break
            if [ "$(redis-cli -p "${port[$name]}" PING 2>&1)" = PONG ]; then
                return
            fi
        done
        kill "${pid[$name]}" 2>/dev/null || true
        wait "${pid[$name]}" 2>/dev/null || true
        unset "pid[$name]"
    done
    echo "bench_server.sh: $name does not start; it said:" >&2
    cat "$work/$name.log" >&2
    exit 1
}

# Processor time of all its threads so far, in clock ticks.
cpu_ticks() {
    local stat fields
    stat=$(<"/proc/$1/stat")
    read -r -a fields <<<"${stat##*) }"
    echo $((fields[11] + fields[12]))
}

# measure NAME TEST PIPELINE REQUESTS - adds a rate and processor time.
measure() {
    local before after rate
    before=$(cpu_ticks "${pid[$1]}")
    rate=$(redis-benchmark -p "${port[$1]}" -t "$2" -P "$3" -n "$4" -c 50 \
        -d 100 -r 100000 --csv | awk -F'"' -v test="${2^^}" \
        '$2 == test { print $4 }')
    after=$(cpu_ticks "${pid[$1]}")
    rates["$1 $2 $3"]+="${rate:?redis-benchmark gave no figure} "
    ticks["$1 $2 $3"]=$((${ticks["$1 $2 $3"]:-0} + after - before))
}

# "median (lowest to highest)" of the words, in thousands; or the median only.
spread() {
    tr ' ' '\n' <<<"$1" | grep . | sort -n | awk '
        { v[NR] = $1 / 1000 }
        END {
            m = (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2
            printf "%.1f (%.1f to %.1f)\n", m, v[1], v[NR]
        }'
}

report() {
    local ours theirs
    ours=$(spread "${rates["tstd $1 $2"]}")
    theirs=$(spread "${rates["redis $1 $2"]}")
    awk -v test="${1^^}" -v pipeline="$2" -v ours="$ours" -v theirs="$theirs" \
        -v our_ticks="${ticks["tstd $1 $2"]}" -v hz="$(getconf CLK_TCK)" \
        -v their_ticks="${ticks["redis $1 $2"]}" \
        -v requests=$(($3 * rounds)) 'BEGIN {
            split(ours, o, " "); split(theirs, t, " ")
            us = 1e6 / hz / requests
            printf "| %-3s | %2d | %s | %s | %.2f | %.2f | %.2f | %.2f |\n",
                test, pipeline, theirs, ours, o[1] / t[1],
                their_ticks * us, our_ticks * us,
                their_ticks ? our_ticks / their_ticks : 0
        }'
}

start redis redis-server --bind 127.0.0.1 --appendonly yes \
    --appendfsync everysec --save '' --daemonize no
start tstd "$(realpath "$(command -v "$tstd")")" --bind 127.0.0.1 --data data \
    --appendfsync everysec

for ((round = 0; round < rounds; round++)); do
    order=(redis tstd)
    if ((round % 2)); then
        order=(tstd redis)
    fi
    for pipeline in 1 16; do
        for kind in set get; do
            for name in "${order[@]}"; do
                measure "$name" "$kind" "$pipeline" "${requests[pipeline]}"
            done
        done
    done
done

cat <<END
Thousand requests a second, median (lowest to highest) of $rounds rounds, and
the server's processor time a request in microseconds; ratios: tstd to Redis.

| test | pipeline | redis-server | tstd | ratio | redis us | tstd us | ratio |
|---|---|---|---|---|---|---|---|
END
for pipeline in 1 16; do
    for kind in set get; do
        report "$kind" "$pipeline" "${requests[pipeline]}"
    done
done
