#!/bin/sh
# Sluice beside llama.cpp (node-llama-cpp's release build): Qwen3-30B-A3B's shape at 12 layers, 4-bit, everything in
# memory, the same threads, by turns. Usage: bench/beside_llama_cpp.sh FOLDER [ROUNDS] (8.9 GB are written there and
# kept for the next time; npm fetches node-llama-cpp by name; default 3 rounds). Prints a Markdown table of every round
# and the medians' ratio.
set -eu
[ $# -ge 1 ] && [ $# -le 2 ] || { echo "usage: bench/beside_llama_cpp.sh FOLDER [ROUNDS]" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "${SLUICE:-build/release/bin/sluice}")
rounds=${2:-3}
mkdir -p "$1"
cd "$1"
[ -d qwen3-30b-a3b-12 ] || "$program" synth qwen3-30b-a3b qwen3-30b-a3b-12 --layers 12 >&2
[ -f qwen3-30b-a3b-12.gguf ] || python3 "$here/llama_cpp/gguf_model.py" qwen3-30b-a3b-12.gguf 12
[ -d node_modules/node-llama-cpp ] || {
    [ -f package.json ] || echo '{"private": true}' >package.json
    npm install --silent --no-audit --no-fund --ignore-scripts node-llama-cpp >&2
}
threads=$("$program" bench qwen3-30b-a3b-12 --prompt-tokens 8 --generate-tokens 1 --json --quiet |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["threads"])')
log=beside_llama_cpp.jsonl
: >"$log"
round=0
while [ "$round" -lt "$rounds" ]; do
    "$program" bench qwen3-30b-a3b-12 --prompt-tokens 512 --generate-tokens 64 --repeat 3 --json --quiet |
        python3 -c 'import json, sys; print(json.dumps(json.load(sys.stdin)))' >>"$log"
    node "$here/llama_cpp/time_llama_cpp.mjs" qwen3-30b-a3b-12.gguf 512 64 "$threads" >>"$log"
    round=$((round + 1))
done
python3 - "$log" "$threads" <<'REPORT'
import json, statistics, sys

lines = [json.loads(line) for line in open(sys.argv[1])]
ours, theirs = lines[0::2], lines[1::2]
print("%s threads | Sluice, tok/s (of its bound) | llama.cpp, tok/s | ratio" % sys.argv[2])
print("---|---|---|---")
for what in ("prefill", "decode"):
    speed, bound = what + "_tokens_per_s", what + "_bound_tokens_per_s"
    for our, their in zip(ours, theirs):
        print("%s | %.1f (%.0f %%) | %.1f | %.2f" %
              (what, our[speed], 100 * our[speed] / our[bound], their[speed], our[speed] / their[speed]))
    ratio = statistics.median(our[speed] for our in ours) / statistics.median(their[speed] for their in theirs)
    print("%s, medians | | | %.2f" % (what, ratio))
REPORT
