#!/bin/sh
# What `plan` foresees beside what `bench` measures right after it, for shapes of real models with synthetic weights,
# resident and under memory ceilings. Usage: bench/plan_beside_bench.sh FOLDER (about 9 GB are written there and kept
# for the next time; figures.sh uses the same).
set -eu
[ $# -eq 1 ] || { echo "usage: bench/plan_beside_bench.sh FOLDER" >&2; exit 2; }
folder=$1
program=${SLUICE:-build/release/bin/sluice}
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
mkdir -p "$folder"

row() { # PRESET LAYERS [flags]
    model=$folder/$1-$2
    title="$1, $2 layers"
    [ -d "$model" ] || "$program" synth "$1" "$model" --layers "$2" >&2
    shift 2
    "$program" plan "$model" --context 1024 --json --quiet "$@" >"$results/plan"
    "$program" bench "$model" --context 1024 --prompt-tokens 512 --generate-tokens 64 --repeat 2 --json --quiet "$@" \
        >"$results/bench"
    python3 -c '
import json, sys
plan, bench = (json.load(open(name)) for name in sys.argv[2:4])
foreseen, measured = plan["expected_decode_tokens_per_s"], bench["decode_tokens_per_s"]
print("| %s | %.1f | %.1f | %+.0f %% | %.0f %% | %.0f %% |" % (sys.argv[1], foreseen, measured,
      100 * (foreseen / measured - 1), 100 * plan["expected_hit_rate"], 100 * bench["hit_rate"]))' \
        "$title $*" "$results/plan" "$results/bench"
}

echo "| shape, 4-bit | plan, tok/s | bench, tok/s | off by | hit rate of plan | of bench |"
echo "|---|---|---|---|---|---|"
row qwen3-30b-a3b 12
row qwen3-30b-a3b 12 --ram 2400M
row qwen3-30b-a3b 12 --ram 1600M
row qwen3.6-35b-a3b 8
row qwen3.6-35b-a3b 8 --ram 1400M
