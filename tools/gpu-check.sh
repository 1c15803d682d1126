#!/bin/sh
# On a machine with an NVIDIA card: builds, holds every operation and golden on the card against the reference, looks
# for bad memory accesses and races, and measures a synthesized model that lies on the card whole. Prints one table.
#   sh tools/gpu-check.sh [--build FOLDER] [--shape PRESET] [--work FOLDER] [--output FILE.md]
# FOLDER is built with the preset `release` unless it is there; the shape's checkpoint needs up to 20 GB of --work.
set -eu
cd "$(dirname "$0")/.."
build=build/release shape=qwen3.6-35b-a3b work=${TMPDIR:-/tmp} output=
while [ $# -gt 0 ]; do
    case "$1" in
        --build) build=$2 ;;
        --shape) shape=$2 ;;
        --work) work=$2 ;;
        --output) output=$2 ;;
        *)
            echo "gpu-check.sh: no argument $1; there are --build, --shape, --work and --output" >&2
            exit 2
            ;;
    esac
    shift 2
done
processes=$(getconf _NPROCESSORS_ONLN)
logs=$(mktemp -d "$work/sluice-gpu-XXXXXX")
trap 'rm -rf "$logs"' EXIT

[ -f "$build/CMakeCache.txt" ] || cmake --preset release >"$logs/configure.log"
cmake --build "$build" --target sluice_program cuda_op_test model_test kernel_bench >"$logs/build.log" 2>&1 ||
    { tail -30 "$logs/build.log" >&2; exit 1; }
program=$(find "$build" -name sluice -type f -perm -u+x | head -n 1)
"$program" doctor 2>/dev/null | grep -q -- '--device cuda:0' ||
    { echo "gpu-check.sh: the program finds no card; \`$program doctor\` says why" >&2; exit 1; }


row() { printf '| %s | %s |\n' "$1" "$2"; }
# NAME COMMAND...: a row that says whether the command ends well; what it wrote is shown where it does not.
checked() {
    name=$1
    shift
    if "$@" >"$logs/check.log" 2>&1; then row "$name" ok; else
        row "$name" FAILED
        tail -20 "$logs/check.log" >&2
    fi
}
# TOOL: over every case of every operation, shared out among processes, since the tools are slow.
sanitized() {
    pids=
    for shard in $(seq 0 $((processes - 1))); do
        GTEST_TOTAL_SHARDS=$processes GTEST_SHARD_INDEX=$shard compute-sanitizer --tool "$1" --error-exitcode 1 \
            "$tests" --gtest_filter='*IsTheSameFromRunToRun*' >"$logs/$1-$shard.log" 2>&1 &
        pids="$pids $!"
    done
    status=0
    for pid in $pids; do wait "$pid" || status=1; done
    cat "$logs/$1"-*.log
    return $status
}
# PROMPT: prefill and decode of the last repetition.
bench() {
    "$program" bench "$logs/model" --device cuda --prompt-tokens "$1" --generate-tokens 64 2>/dev/null |
        awk '$1 == "3" {print $2, $3}'
}

report() {
    tests=$build/tests/backend/cuda_op_test
    row "$("$program" doctor 2>/dev/null | sed -n 's/.*--device cuda:0 is \(.*\) (compute.*/\1/p')" result
    row --- ---
    checked "operations against the reference" "$tests"
    checked "goldens on the card" "$build/tests/model/model_test" --gtest_filter='*Cuda*'
    if command -v compute-sanitizer >/dev/null; then
        checked memcheck sanitized memcheck
        checked racecheck sanitized racecheck
    else
        row compute-sanitizer "is not there"
    fi
    "$program" synth "$shape" "$logs/model" >"$logs/synth.log" 2>&1 || { cat "$logs/synth.log" >&2; exit 1; }
    for prompt in 512 8192; do
        # shellcheck disable=SC2046  # two numbers
        set -- $(bench $prompt)
        row "$shape, prompt of $prompt: prefill" "${1:-nothing} tok/s"
        row "$shape, after $prompt: decode" "${2:-nothing} tok/s"
    done
    echo
    "$build/bin/sluice-kernel-bench" --device cuda --shape "$shape" 2>&1 | sed 's/^/    /'
}
report | tee "$logs/report.md"
[ -z "$output" ] || cp "$logs/report.md" "$output"
! grep -q "FAILED" "$logs/report.md"
