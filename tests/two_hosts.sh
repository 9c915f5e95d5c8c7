#!/bin/sh
# Several ranks on two hosts: network namespaces of this machine, each with a name, an address and an SSH server of its
# own, and between them nothing but a cable. It takes root, iproute2, openssh-server and Open MPI (Debian: openmpi-bin).
#   sh tests/two_hosts.sh                   the tiny run by 2 and 4 ranks, half of them on each host: the known hashes
#                                           (tests/tiny_run.sha256). BINARY names a build with the feature mpi; without
#                                           it, one is made. Where the machine does not allow such hosts, it says what
#                                           is missing and is skipped.
#   sh tests/two_hosts.sh COMMAND ...       that command on the first host, where mpirun knows both
# RATE=1gbit limits the cable, in each direction.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
hosts="one two"
name=ranks-$$
made=
servers=
end() {
    status=$?
    for host in $made; do
        ip netns del "$name-$host" || true
    done
    # shellcheck disable=SC2086 # numbers
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
for tool in ip:iproute2 tc:iproute2 ssh:openssh-client sshd:openssh-server mpirun.openmpi:openmpi-bin; do
    command -v "${tool%:*}" >/dev/null || skip "it takes ${tool%:*} (Debian: ${tool#*:})"
done

# The cable: an end in each namespace.
for host in $hosts; do
    ip netns add "$name-$host" 2>"$work/log" || skip "no network namespace can be made: $(cat "$work/log")"
    made="$made $host"
done
ip -n "$name-one" link add cable type veth peer name cable netns "$name-two" 2>"$work/log" ||
    skip "no cable can be laid: $(cat "$work/log")"
number=0
for host in $hosts; do
    number=$((number + 1))
    ip -n "$name-$host" address add "10.77.0.$number/24" dev cable
    ip -n "$name-$host" link set lo up
    ip -n "$name-$host" link set cable up
    if [ -n "${RATE:-}" ]; then
        # A burst of four packets, as large as TCP gives them to such a cable (64 KB).
        ip netns exec "$name-$host" tc qdisc add dev cable root tbf rate "$RATE" burst 256kb latency 400ms \
            2>"$work/log" || skip "the rate cannot be limited: $(cat "$work/log")"
    fi
done

# A server on each, with its key, for whoever has the client's.
mkdir -p /run/sshd
ssh-keygen -q -t ed25519 -N '' -f "$work/client"
number=0
for host in $hosts; do
    number=$((number + 1))
    ssh-keygen -q -t ed25519 -N '' -f "$work/$host.key"
    echo "10.77.0.$number $(cat "$work/$host.key.pub")" >>"$work/known"
    echo "10.77.0.$number slots=8" >>"$work/hosts"
    cat >"$work/$host.conf" <<END
HostKey $work/$host.key
AuthorizedKeysFile $work/client.pub
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile none
END
    # A namespace of names, too: to Open MPI, hosts of one name are one.
    ip netns exec "$name-$host" unshare --uts sh -c \
        "hostname $name-$host && exec $(command -v sshd) -D -f $work/$host.conf" 2>"$work/$host.log" &
    servers="$servers $!"
done

on_first_host() {
    ip netns exec "$name-one" unshare --uts sh -c "hostname $name-one"' && exec "$@"' sh "$@"
}

to_get_there="-i $work/client -o UserKnownHostsFile=$work/known -o BatchMode=yes"
tries=0
# shellcheck disable=SC2086 # several words
until on_first_host ssh $to_get_there 10.77.0.2 true 2>"$work/log"; do
    tries=$((tries + 1))
    [ $tries -lt 20 ] || skip "no SSH server can be reached: $(cat "$work/log" "$work/two.log")"
    sleep 0.5
done

# What mpirun has to know: who there is, how to get there, and by which cable; and, as root and with more ranks than
# cores, that it is meant.
export OMPI_MCA_orte_default_hostfile="$work/hosts" OMPI_MCA_rmaps_base_mapping_policy=node
export OMPI_MCA_plm_rsh_args="$to_get_there"
export OMPI_MCA_btl_tcp_if_include=10.77.0.0/24 OMPI_MCA_oob_tcp_if_include=10.77.0.0/24
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1

if [ $# -gt 0 ]; then
    on_first_host "$@"
    exit
fi

if [ -z "${BINARY:-}" ]; then
    cargo build --release --quiet --features mpi --target-dir target/determinism/mpi
    BINARY=target/determinism/mpi/release/instructgpt
fi
for ranks in 2 4; do
    # Each rank says on which host it is before it begins.
    on_first_host mpirun.openmpi -n $ranks sh -c 'hostname >&2; exec "$@"' sh \
        "$(realpath "$BINARY")" run configs/tiny.toml --out "$work/run" --threads 1 >/dev/null 2>"$work/log" ||
        { cat "$work/log"; exit 1; }
    for host in $hosts; do
        there=$(grep -cx "$name-$host" "$work/log") || true
        [ "$there" = $((ranks / 2)) ] || { echo "two hosts: $there of $ranks ranks on host $host" >&2; exit 1; }
    done
    if ! (cd "$work/run" && sha256sum --check --quiet) <tests/tiny_run.sha256; then
        echo "two hosts: $ranks ranks differ from tests/tiny_run.sha256" >&2
        exit 1
    fi
    echo "two hosts, $ranks ranks: the known hashes"
    rm -rf "$work/run"
done
