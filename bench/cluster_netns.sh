#!/bin/sh
# Three hosts on this machine, or HOSTS: network namespaces, joined by links of a rate and a delay (tc), made and
# removed here. Runs `mpirun -n 3 sluice ARGUMENTS` over them. Needs root, Open MPI and iproute2; where the kernel lacks
# the queueing discipline netem, tbf makes the rate and bench/slow_link.c the delay.
#
#   sh bench/cluster_netns.sh RATE DELAY PROGRAM ARGUMENTS...      such as 10gbit 0.02ms build/release/bin/sluice bench
set -eu
[ $# -ge 4 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2; }
rate=$1
delay=$2
shift 2
hosts=$(seq "${HOSTS:-3}")
addresses=$(echo "$hosts" | sed 's/^/10.77.0./' | paste -sd ,)
place=$(mktemp -d)
late=

remove() {
    for host in $hosts hub; do ip netns del "sluice-$host" 2>/dev/null || true; done
    rm -rf "$place"
}
trap remove EXIT INT TERM

ip netns add sluice-hub
ip -n sluice-hub link add bridge type bridge
ip -n sluice-hub link set bridge up
told=
for host in $hosts; do
    ip netns add "sluice-$host"
    ip link add "sluice-hub-$host" netns sluice-hub type veth peer name eth0 netns "sluice-$host"
    ip -n sluice-hub link set "sluice-hub-$host" master bridge up
    ip -n "sluice-$host" address add "10.77.0.$host/24" dev eth0
    ip -n "sluice-$host" link set eth0 up
    ip -n "sluice-$host" link set lo up
    # What leaves each host.
    if tc -n "sluice-$host" qdisc add dev eth0 root netem delay "$delay" rate "$rate" 2>"$place/refusal"; then
        told="$rate, $delay a way"
    elif tc -n "sluice-$host" qdisc add dev eth0 root tbf rate "$rate" burst 256kb latency 50ms; then
        told="$rate; $delay a way by slow_link.c, since netem is refused ($(tail -n 1 "$place/refusal"))"
        late=$(echo "$delay" | sed -n 's/ms$//p' | awk '{ print 1000 * $1 }')
        : "${late:?the delay is told in ms}"
    fi
done
echo "cluster_netns.sh: $told" >&2
ip netns exec sluice-1 ping -q -c 20 -i 0.01 10.77.0.2 2>/dev/null |
    sed -n 's/^rtt/cluster_netns.sh: ping/p' >&2 || true

# In place of ssh: mpirun calls it with a host and a command.
cat >"$place/agent" <<'AGENT'
#!/bin/sh
host=${1##*.}
shift
exec ip netns exec "sluice-$host" unshare --uts sh -c "hostname node$host; $*"
AGENT
chmod +x "$place/agent"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
network=10.77.0.0/24
preload=
if [ -n "$late" ]; then
    mpicc -O2 -Wall -shared -fPIC -o "$place/slow_link.so" "$(dirname "$0")/slow_link.c"
    : >"$place/link"
    preload="-x LD_PRELOAD=$place/slow_link.so -x SLUICE_LINK=$place/link:$late:1000"
fi
# The agent hands its command to a shell.
"$place/agent" 10.77.0.1 mpirun -n "${HOSTS:-3}" --host "$addresses" --bind-to none \
    --mca plm_rsh_agent "$place/agent" --mca btl tcp,self --mca btl_tcp_if_include "$network" \
    --mca oob_tcp_if_include "$network" "$preload" "$*"
