#!/bin/sh
# What decoding keeps beside threads of others: tokens per second alone and beside one and two busy loops, by turns.
# Usage: bench/beside_busy_threads.sh MODEL [ROUNDS [BENCH OPTIONS...]] (default 3 rounds). Prints a Markdown table of
# the medians.
set -eu
[ $# -ge 1 ] || { echo "usage: bench/beside_busy_threads.sh MODEL [ROUNDS [BENCH OPTIONS...]]" >&2; exit 2; }
program=${SLUICE:-build/release/bin/sluice}
model=$1
rounds=${2:-3}
shift "$(($# < 2 ? $# : 2))"
log=$(mktemp)
loops=
stop_loops() {
    # shellcheck disable=SC2086
    [ -z "$loops" ] || kill $loops 2>/dev/null || true
    loops=
}
trap 'stop_loops; rm -f "$log"' EXIT INT TERM
round=0
while [ "$round" -lt "$rounds" ]; do
    for busy in 0 1 2; do
        while [ "$(echo "$loops" | wc -w)" -lt "$busy" ]; do
            sh -c 'while :; do :; done' &
            loops="$loops $!"
        done
        "$program" bench "$model" --prompt-tokens 16 --generate-tokens 64 --repeat 2 --json --quiet "$@" |
            python3 -c 'import json, sys
print(sys.argv[1], json.load(sys.stdin)["runs"][-1]["decode_tokens_per_s"])' "$busy" >>"$log"
    done
    stop_loops
    round=$((round + 1))
done
python3 - "$log" <<'END'
import statistics
import sys

speeds = {}
for line in open(sys.argv[1]):
    busy, speed = line.split()
    speeds.setdefault(int(busy), []).append(float(speed))
alone = statistics.median(speeds[0])
print("| busy threads | tok/s | kept |\n|---|---|---|")
for busy, values in sorted(speeds.items()):
    middle = statistics.median(values)
    print(f"| {busy} | {middle:.1f} | {100 * middle / alone:.0f} % |")
END
