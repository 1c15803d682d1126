#!/bin/sh
# Jobs whose drives are slow, and what bench/cluster_sim.py computes of them: each process has a drive of RATE megabytes
# a second (bench/slow_drive.sh), the leader has RAM, each of the others OTHERS. Needs root and Open MPI.
#
#   sh bench/cluster_drives.sh PROGRAM MODEL RATE RAM OTHERS [PROCESSES...]   1, 2, 3 unless said otherwise
set -eu
[ $# -ge 5 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 2; }
program=$1
model=$2
rate=$3
ram=$4
others=$5
shift 5
[ $# -gt 0 ] || set -- 1 2 3
here=$(dirname "$0")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT INT TERM
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

job() { mpirun --oversubscribe --bind-to none "$@"; }
# Two equal runs: the second one, which is the faster, counts.
bench="$program bench $model --threads 1 --direct-io on --prompt-tokens 4 --generate-tokens 32"
bench="$bench --repeat 2 --json --quiet"
slow="sh $here/slow_drive.sh $rate $model/config.json"

# shellcheck disable=SC2086  # the commands are meant to fall apart into words
{
    "$program" inspect "$model" --json >"$place/model"
    job -n 1 $bench >"$place/alone"
    job -n 2 $bench >"$place/rates"
    for processes in "$@"; do
        if [ "$processes" -eq 1 ]; then
            job -n 1 $slow $bench --ram "$ram" >"$place/job"
        else
            job -n 1 $slow $bench --ram "$ram" : -n $((processes - 1)) $slow $bench --ram "$others" >"$place/job"
        fi
        # A control group counts over a tenth of a second.
        python3 "$here/cluster_sim.py" --alone "$place/alone" --job "$place/job" --rates "$place/rates" \
            --model "$place/model" --cores "$(nproc)" --drive "${rate}e6" --burst 0.1
    done
}
