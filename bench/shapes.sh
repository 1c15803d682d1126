#!/bin/sh
# The speed of every shape: four layers with synthetic 4-bit weights, everything in memory, beside the bound that its
# bytes set in the same run. Usage: bench/shapes.sh FOLDER CONFIGS.json [NAME...]: CONFIGS.json has published configs by
# name, NAME picks some of them. LAYERS says how many layers. One shape at a time lies in FOLDER.
set -eu
[ $# -ge 2 ] || { echo "usage: bench/shapes.sh FOLDER CONFIGS.json [NAME...]" >&2; exit 2; }
folder=$1
configs=$2
shift 2
program=${SLUICE:-build/release/bin/sluice}
layers=${LAYERS:-4}
mkdir -p "$folder"
[ $# -gt 0 ] || set -- $(python3 -c 'import json, sys; print(*json.load(open(sys.argv[1])))' "$configs")
echo "| shape | \`model_type\` | layers | read per token | decode, tok/s | of its bound | prefill 64, tok/s |"
echo "|---|---|---|---|---|---|---|"
for name in "$@"; do
    python3 -c 'import json, sys; json.dump(json.load(open(sys.argv[1]))[sys.argv[2]], open(sys.argv[3], "w"))' \
        "$configs" "$name" "$folder/config.json"
    rm -rf "$folder/model"
    if ! "$program" synth "$folder/config.json" "$folder/model" --layers "$layers" --quiet 2>"$folder/error" ||
        ! "$program" bench "$folder/model" --prompt-tokens 64 --generate-tokens 48 --repeat 3 --json --quiet \
            >"$folder/bench.json" 2>"$folder/error"; then
        echo "| $name | | | $(tail -n 1 "$folder/error") | | | |"
        continue
    fi
    "$program" inspect "$folder/model" --json >"$folder/inspect.json"
    python3 -c '
import json, sys
bench, model = (json.load(open(path)) for path in sys.argv[2:4])
read = model["trunk_bytes_per_token"] + model["expert_bytes_per_token"]
print("| %s | `%s` | %d | %.0f MB | %.1f | %.0f %% of %.1f | %.0f |" % (
    sys.argv[1], model["architecture"], model["layers"], read / 1e6, bench["decode_tokens_per_s"],
    100 * bench["decode_tokens_per_s"] / bench["decode_bound_tokens_per_s"], bench["decode_bound_tokens_per_s"],
    bench["prefill_tokens_per_s"]))' "$name" "$folder/bench.json" "$folder/inspect.json"
done
rm -rf "$folder/model"
