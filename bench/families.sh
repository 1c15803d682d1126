#!/bin/sh
# What `inspect` and `plan` say of every family and size without any weights: of each preset of `synth` at 4 bit, and of
# published configs. Usage: bench/families.sh FOLDER [CONFIGS.json]: CONFIGS.json has published configs by name. RAM
# says how much memory is planned with. Fails where one is refused.
set -eu
[ $# -ge 1 ] || { echo "usage: bench/families.sh FOLDER [CONFIGS.json]" >&2; exit 2; }
folder=$1
configs=${2:-}
program=${SLUICE:-build/release/bin/sluice}
ram=${RAM:-64G}
status=0
mkdir -p "$folder"

# row NAME MODEL
row() {
    if ! "$program" inspect "$2" --json >"$folder/inspect.json" 2>"$folder/error" ||
        ! "$program" plan "$2" --ram "$ram" --json >"$folder/plan.json" 2>"$folder/error"; then
        echo "| $1 | $(tail -n 1 "$folder/error") | | | | | | |"
        status=1
        return
    fi
    python3 -c '
import json, sys
model, plan = (json.load(open(path)) for path in sys.argv[2:4])
runs = "%.0f %%" % (100 * plan["cached_fraction"]) if plan["runs"] else "no"
print("| %s | `%s` | %d (%d) | %d / %d | %.1f MB | %.1f GB | %.2f GB | %.1f GB | %s |" % (
    sys.argv[1], model["architecture"], model["layers"], model["moe_layers"], model["experts"],
    model["experts_per_token"], model["bytes_per_expert"] / 1e6, model["expert_bytes"] / 1e9,
    model["expert_bytes_per_token"] / 1e9, plan["memory_floor_bytes"] / 1e9, runs))' \
        "$1" "$folder/inspect.json" "$folder/plan.json"
}

echo "| shape | \`model_type\` | layers (with experts) | experts / per token | one expert | all experts |" \
    "read per token, nothing cached | memory it needs | cached of $ram |"
echo "|---|---|---|---|---|---|---|---|---|"
"$program" synth --list | while read -r name rest; do echo "$name"; done >"$folder/names"
for name in $(cat "$folder/names"); do
    rm -rf "$folder/model"
    "$program" synth "$name" "$folder/model" --config-only --quiet
    row "$name, 4 bit" "$folder/model"
done
rm -rf "$folder/model"
[ -n "$configs" ] || exit "$status"
for name in $(python3 -c 'import json, sys; print(*json.load(open(sys.argv[1])))' "$configs"); do
    python3 -c 'import json, sys; json.dump(json.load(open(sys.argv[1]))[sys.argv[2]], open(sys.argv[3], "w"))' \
        "$configs" "$name" "$folder/config.json"
    row "$name, as published" "$folder/config.json"
done
exit "$status"
