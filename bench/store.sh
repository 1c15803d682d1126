#!/bin/sh
# The expert store against its bound: Qwen3-30B-A3B's shape at 12 layers, in a memory cgroup that holds half of it, as
# it is published (nine reads of an expert, off page borders) and packed (one read). Usage: bench/store.sh FOLDER
# [LIMIT_MB [FLAG...]] (9.2 GB are written there and kept for the next time; needs root; default 2400 MB). Flags, such
# as --look-ahead off, go to the streamed runs. The bound of a token is the longer of reading the bytes that were
# missed, at the drive's bandwidth, and computing, at the speed of a run with everything resident; all three are
# measured here, so compare the ratios.
set -eu
[ $# -ge 1 ] || { echo "usage: bench/store.sh FOLDER [LIMIT_MB [FLAG...]]" >&2; exit 2; }
here=$(dirname "$0")
folder=$1
limit_mb=${2:-2400}
shift "$(($# < 2 ? $# : 2))"
program=${SLUICE:-build/release/bin/sluice}
published=$folder/qwen3-30b-a3b-12
packed=$folder/qwen3-30b-a3b-12-packed
mkdir -p "$folder"
[ -d "$published" ] || "$program" synth qwen3-30b-a3b "$published" --layers 12 >&2
[ -d "$packed" ] || "$program" pack "$published" "$packed" >&2

bench() { # OUTPUT COMMAND...
    output=$1
    shift
    "$@" --prompt-tokens 512 --generate-tokens 64 --repeat 4 --json --quiet >"$output"
}

streamed() { # OUTPUT MODEL [FLAG...]
    output=$1
    model=$2
    shift 2
    # The cgroup also holds pages of the program and the kernel's own, which --ram does not count.
    bench "$output" sh "$here/../scripts/run-in-memory.sh" "$limit_mb" \
        "$program" bench "$model" --ram "$((limit_mb * 19 / 20))M" "$@"
}

streamed "$folder/published.json" "$published" "$@"
bench "$folder/resident.json" "$program" bench "$published"
streamed "$folder/packed.json" "$packed" "$@"
python3 "$here/store_report.py" "$published" "$folder/resident.json" "$folder/published.json" "$folder/packed.json"
