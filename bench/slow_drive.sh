#!/bin/sh
# Runs a command whose reads past the page cache come at a rate: slow_drive.sh MEGABYTES_PER_SECOND FILE COMMAND... FILE
# is on the drive that is slowed down. A control group of its own, so that each process of a job has "its" drive. Needs
# root.
set -eu
[ $# -ge 3 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 2; }
bytes=$(($1 * 1000000))
disk=$(df --output=source "$2" | tail -n 1)
device=$(lsblk -no MAJ:MIN "$disk" | head -n 1 | tr -d ' ')
shift 2
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    group=/sys/fs/cgroup/sluice-drive-$$
    mkdir "$group"
    echo "$device rbps=$bytes" >"$group/io.max"
else
    group=/sys/fs/cgroup/blkio/sluice-drive-$$
    mkdir "$group"
    echo "$device $bytes" >"$group/blkio.throttle.read_bps_device"
fi
trap 'rmdir "$group" 2>/dev/null' EXIT
status=0
sh -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$group" "$@" || status=$?
exit "$status"
