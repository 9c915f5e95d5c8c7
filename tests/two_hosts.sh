#!/bin/sh
# Several ranks on two hosts: network namespaces of this machine, each with a name, an address and an SSH server of its
# own, and nothing between them but a cable. It takes root, iproute2, openssh-server and Open MPI (Debian: openmpi-bin).
#   sh tests/two_hosts.sh                   the tiny run by 2 and 4 ranks, half of them on each host: the known hashes
#                                           (tests/tiny_run.sha256). BINARY names a build with the feature mpi; without
#                                           it, one is made. Where the machine does not allow such hosts, it says what
#                                           is missing and is skipped.
#   sh tests/two_hosts.sh COMMAND ...       that command on the first host, where mpirun knows both
# RATE=1gbit limits the cable, in each direction.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
servers=
end() {
    status=$?
    for host in one two; do
        ip netns del "ranks-$host" 2>/dev/null || true
    done
    [ -z "$servers" ] || { kill $servers && wait; } 2>/dev/null || true
    rm -rf "$work"
    exit $status
}
trap end EXIT
trap 'exit 130' INT TERM

skip() {
    echo "two hosts: skipped, $1"
    exit 0
}

[ "$(id -u)" = 0 ] || skip "it takes root"
for tool in ip:iproute2 tc:iproute2 ssh:openssh-client ssh-keygen:openssh-client sshd:openssh-server \
    mpirun.openmpi:openmpi-bin; do
    command -v "${tool%:*}" >/dev/null || skip "it takes ${tool%:*} (Debian: ${tool#*:})"
done

# The cable: an end in each namespace.
for host in one two; do
    ip netns add "ranks-$host" 2>"$work/log" || skip "no network namespace can be made: $(cat "$work/log")"
done
ip -n ranks-one link add cable type veth peer name cable netns ranks-two 2>"$work/log" ||
    skip "no cable can be laid: $(cat "$work/log")"
number=0
for host in one two; do
    number=$((number + 1))
    ip -n "ranks-$host" address add "10.77.0.$number/24" dev cable
    ip -n "ranks-$host" link set lo up
    ip -n "ranks-$host" link set cable up
    if [ -n "${RATE:-}" ]; then
        # As much in a burst as passes in 2 ms: less, and timers are too coarse for the rate.
        ip netns exec "ranks-$host" tc qdisc add dev cable root tbf rate "$RATE" burst 256kb latency 50ms \
            2>"$work/log" || skip "the rate cannot be limited: $(cat "$work/log")"
    fi
done

# The servers, each with its key, for whoever has the client's.
mkdir -p /run/sshd
ssh-keygen -q -t ed25519 -N '' -f "$work/client"
for host in one two; do
    ssh-keygen -q -t ed25519 -N '' -f "$work/$host.key"
    cat >"$work/$host.conf" <<END
HostKey $work/$host.key
PidFile none
AuthorizedKeysFile $work/client.pub
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
END
    # A namespace of names, too: to Open MPI, hosts of one name are one.
    ip netns exec "ranks-$host" unshare --uts sh -c \
        "hostname ranks-$host && exec $(command -v sshd) -D -f $work/$host.conf" 2>"$work/$host.log" &
    servers="$servers $!"
done
number=0
for host in one two; do
    number=$((number + 1))
    echo "10.77.0.$number $(cat "$work/$host.key.pub")" >>"$work/known"
    echo "10.77.0.$number slots=8" >>"$work/hosts"
done

# What mpirun has to know: how to get there, and by which cable. With ranks than cores, it wants to be told to yield.
export OMPI_MCA_plm_rsh_args="-i $work/client -o UserKnownHostsFile=$work/known -o BatchMode=yes"
export OMPI_MCA_orte_default_hostfile="$work/hosts" OMPI_MCA_rmaps_base_mapping_policy=node
export OMPI_MCA_btl_tcp_if_include=10.77.0.0/24 OMPI_MCA_oob_tcp_if_include=10.77.0.0/24
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1

on_first_host() {
    ip netns exec ranks-one unshare --uts sh -c 'hostname ranks-one && exec "$@"' sh "$@"
}

if [ $# -gt 0 ]; then
    on_first_host "$@"
    exit
fi

if [ -z "${BINARY:-}" ]; then
    cargo build --release --quiet --features mpi --target-dir target/determinism/mpi
    BINARY=target/determinism/mpi/release/instructgpt
fi
for ranks in 2 4; do
    on_first_host mpirun.openmpi -n $ranks sh -c 'hostname >&2; exec "$@"' sh \
        "$(realpath "$BINARY")" run configs/tiny.toml --out "$work/run" --threads 1 >/dev/null 2>"$work/log" ||
        { cat "$work/log"; exit 1; }
    for host in one two; do
        on=$(grep -c "^ranks-$host\$" "$work/log") || true
        [ "$on" = $((ranks / 2)) ] || { echo "two hosts: $on of $ranks ranks on host $host" >&2; exit 1; }
    done
    if ! (cd "$work/run" && sha256sum --check --quiet) <tests/tiny_run.sha256; then
        echo "two hosts: $ranks ranks differ from tests/tiny_run.sha256" >&2
        exit 1
    fi
    echo "two hosts, $ranks ranks: the known hashes"
    rm -rf "$work/run"
done
