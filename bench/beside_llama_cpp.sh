#!/bin/sh
# Sluice beside llama.cpp (node-llama-cpp's release build): Qwen3-30B-A3B's shape at 12 layers, the same threads, by
# turns. Usage: bench/beside_llama_cpp.sh FOLDER [ROUNDS [MIX]] (default 3 rounds). Without a MIX Sluice reads MLX's 4
# bits and llama.cpp Q4_K; with one (q4_k, q4_k_m, q2_k_xl, iq2_xxs) both read the same GGUF file. LIMIT_MB=N puts each
# in a memory cgroup of that size (needs root), where llama.cpp maps the file. 3 to 9 GB are written to FOLDER and kept
# for the next time; npm fetches node-llama-cpp by name. Prints a Markdown table of every round and the medians' ratio.
set -eu
[ $# -ge 1 ] && [ $# -le 3 ] || { echo "usage: bench/beside_llama_cpp.sh FOLDER [ROUNDS [MIX]]" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "${SLUICE:-build/release/bin/sluice}")
rounds=${2:-3}
mix=${3:-}
mkdir -p "$1"
cd "$1"
theirs=qwen3-30b-a3b-12-${mix:-q4_k}.gguf
[ -f "$theirs" ] || python3 "$here/llama_cpp/gguf_model.py" "$theirs" 12 "${mix:-q4_k}"
ours=$theirs
if [ -z "$mix" ]; then
    ours=qwen3-30b-a3b-12
    [ -d "$ours" ] || "$program" synth qwen3-30b-a3b "$ours" --layers 12 >&2
fi
[ -d node_modules/node-llama-cpp ] || {
    [ -f package.json ] || echo '{"private": true}' >package.json
    npm install --silent --no-audit --no-fund --ignore-scripts node-llama-cpp >&2
}

limited() { # COMMAND...
    if [ -n "${LIMIT_MB:-}" ]; then sh "$here/../scripts/run-in-memory.sh" "$LIMIT_MB" "$@"; else "$@"; fi
}
# The cgroup also holds pages of the program and the kernel's own, which --ram does not count.
ram=
if [ -n "${LIMIT_MB:-}" ]; then ram="--ram $((LIMIT_MB * 19 / 20))M"; fi
threads=$("$program" bench "$ours" --prompt-tokens 8 --generate-tokens 1 --json --quiet |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["threads"])')
log=beside_llama_cpp.jsonl
: >"$log"
round=0
while [ "$round" -lt "$rounds" ]; do
    # shellcheck disable=SC2086
    limited "$program" bench "$ours" --prompt-tokens 512 --generate-tokens 64 --repeat 3 --json --quiet $ram |
        python3 -c 'import json, sys; print(json.dumps(json.load(sys.stdin)))' >>"$log"
    limited node "$here/llama_cpp/time_llama_cpp.mjs" "$theirs" 512 64 "$threads" >>"$log" || echo '{}' >>"$log"
    round=$((round + 1))
done
python3 "$here/llama_cpp/report.py" "$log" "$threads"
