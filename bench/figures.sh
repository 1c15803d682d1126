#!/bin/sh
# The figures of the README: shapes of real models with synthetic weights, resident and under a memory ceiling, beside
# the bounds measured in the same run. Usage: bench/figures.sh FOLDER (about 9 GB are written there and kept for the
# next time).
set -eu
[ $# -eq 1 ] || { echo "usage: bench/figures.sh FOLDER" >&2; exit 2; }
folder=$1
program=${SLUICE:-build/release/bin/sluice}
mkdir -p "$folder"

make_model() { # PRESET LAYERS
    [ -d "$folder/$1-$2" ] || "$program" synth "$1" "$folder/$1-$2" --layers "$2" >&2
}

row() { # TITLE MODEL [flags]
    title=$1
    model=$2
    shift 2
    "$program" bench "$model" --prompt-tokens 512 --generate-tokens 64 --repeat 2 --json --quiet "$@" |
        python3 -c '
import json, sys
r = json.load(sys.stdin)
print("| %s | %.1f (%.0f %%) | %.1f (%.0f %%) | %.0f %% | %.1f MB | %.2f GB |" % (
    sys.argv[1], r["prefill_tokens_per_s"], 100 * r["prefill_tokens_per_s"] / r["prefill_bound_tokens_per_s"],
    r["decode_tokens_per_s"], 100 * r["decode_tokens_per_s"] / r["decode_bound_tokens_per_s"],
    100 * r["hit_rate"], r["expert_bytes_per_token"] / 1e6, r["peak_rss_bytes"] / 1e9))' "$title"
}

make_model qwen3-30b-a3b 12
make_model qwen3.6-35b-a3b 8
printf '| shape, 4-bit | prefill 512, tok/s (of its bound) | decode, tok/s (of its bound) '
echo "| hit rate | read per token | memory |"
echo "|---|---|---|---|---|---|"
row "Qwen3-30B-A3B, 12 layers, resident" "$folder/qwen3-30b-a3b-12"
row "Qwen3-30B-A3B, 12 layers, --ram 2400M" "$folder/qwen3-30b-a3b-12" --ram 2400M
row "Qwen3.6-35B-A3B, 8 layers, resident" "$folder/qwen3.6-35b-a3b-8"
row "Qwen3.6-35B-A3B, 8 layers, --ram 1400M" "$folder/qwen3.6-35b-a3b-8" --ram 1400M
