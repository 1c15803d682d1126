#!/bin/sh
# What company costs and saves: 1 to 32 streams at once through the server, Qwen3-30B-A3B's shape at 12 layers with its
# experts streamed from the drive in a memory cgroup, and everything resident. Usage: bench/serve_curve.sh FOLDER
# TOKENIZER [LIMIT_MB [FLAG...]]: TOKENIZER is a folder with a tokenizer.json, whatever it is of, as random weights have
# none; LIMIT_MB is 2400 unless given, `resident` for no cgroup and all experts in memory (6 GB). 9.2 GB are written to
# FOLDER and kept for the next time. Needs root for the cgroup. Bounds are measured in the same run; compare ratios.
set -eu
[ $# -ge 2 ] || { echo "usage: bench/serve_curve.sh FOLDER TOKENIZER [LIMIT_MB [FLAG...]]" >&2; exit 2; }
here=$(dirname "$0")
folder=$1
tokenizer=$2
limit_mb=${3:-2400}
shift "$(($# < 3 ? $# : 3))"
program=${SLUICE:-build/release/bin/sluice}
port=${PORT:-18523}
published=$folder/qwen3-30b-a3b-12
model=$folder/qwen3-30b-a3b-12-packed
mkdir -p "$folder"
[ -d "$published" ] || "$program" synth qwen3-30b-a3b "$published" --layers 12 >&2
[ -d "$model" ] || "$program" pack "$published" "$model" >&2
cp "$tokenizer/tokenizer.json" "$model/"

# The cgroup also holds pages of the program and the kernel's own, which --ram does not count.
limited() { # COMMAND...
    if [ "$limit_mb" = resident ]; then
        "$@"
    else
        sh "$here/../scripts/run-in-memory.sh" "$limit_mb" "$@" --ram "$((limit_mb * 19 / 20))M"
    fi
}

limited "$program" bench "$model" --prompt-tokens 64 --generate-tokens 64 --repeat 3 --json --quiet "$@" \
    >"$folder/serve-bench.json"
"$program" inspect "$model" --json >"$folder/serve-inspect.json"
# What is started may be a wrapper; it ends with the server.
# shellcheck disable=SC2016
limited sh -c 'echo $$ >"$0"; exec "$@"' "$folder/serve.pid" \
    "$program" serve "$model" --port "$port" --slots 32 --context 256 --kv-tokens 8192 "$@" \
    >"$folder/serve.log" 2>&1 &
wrapper=$!
end() {
    kill "$(cat "$folder/serve.pid")" 2>/dev/null || true
    wait "$wrapper" 2>/dev/null || true
}
trap end EXIT
sleep 1
kill -0 "$wrapper" 2>/dev/null || { cat "$folder/serve.log" >&2; exit 1; }
python3 "$here/serve_curve.py" "http://127.0.0.1:$port" "$folder/serve-bench.json" "$folder/serve-inspect.json"
