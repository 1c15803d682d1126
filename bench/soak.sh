#!/bin/sh
# Mixed requests on one open engine inside a memory cgroup, for hours: does it stay inside, and does it slow down?
# Usage: bench/soak.sh MODEL HOURS [LIMIT_MB [LOG]] (needs root; default 4096 MB, log soak.jsonl). Prints a
# minute-by-minute table as Markdown; ends with status 1 when a request failed, the memory was exceeded, or the last ten
# minutes were slower. SOAK names the program, which -DSLUICE_BUILD_BENCHMARKS=ON builds.
set -eu
[ $# -ge 2 ] && [ $# -le 4 ] || { echo "usage: bench/soak.sh MODEL HOURS [LIMIT_MB [LOG]]" >&2; exit 2; }
here=$(dirname "$0")
soak=${SOAK:-build/release/bin/soak}
limit_mb=${3:-4096}
log=${4:-soak.jsonl}
sh "$here/../scripts/run-in-memory.sh" "$limit_mb" "$soak" "$1" "$2" >"$log"
python3 "$here/soak_report.py" "$log" "$limit_mb"
