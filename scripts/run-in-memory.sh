#!/bin/sh
# Runs a command in a memory cgroup of its own: run-in-memory.sh SIZE_MB COMMAND... Needs root. Prints, on stderr, the
# cgroup's peak (page cache included) when the command ends. cgroup v2 where there is one, else v1.
set -eu
[ $# -ge 2 ] || { echo "usage: run-in-memory.sh SIZE_MB COMMAND..." >&2; exit 2; }
bytes=$(($1 * 1048576))
shift
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    group=/sys/fs/cgroup/sluice-$$
    limit=memory.max
    peak=memory.peak
else
    group=/sys/fs/cgroup/memory/sluice-$$
    limit=memory.limit_in_bytes
    peak=memory.max_usage_in_bytes
fi
mkdir "$group"
trap 'rmdir "$group" 2>/dev/null' EXIT
echo "$bytes" >"$group/$limit"
status=0
sh -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$group" "$@" || status=$?
if [ -f "$group/$peak" ]; then
    echo "cgroup limit $bytes bytes, peak $(cat "$group/$peak")" >&2
fi
exit "$status"
