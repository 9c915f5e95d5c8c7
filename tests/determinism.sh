#!/bin/sh
# One table of hashes: the tiny run's models, metrics, results and samples for instruction sets, numbers of
# threads and micro-batch sizes. All rows must be equal; exits 1 otherwise.
#   sh tests/determinism.sh          v3, v4 where the machine has AVX-512, native, and plain x86-64 without FMA
#   sh tests/determinism.sh quick    native, and v3 and v4 as above (what CI runs)
set -eu
cd "$(dirname "$0")/.."
quick=${1:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

hash_run() { # name, binary, further arguments
    name=$1; binary=$2; shift 2
    rm -rf "$work/run"
    "$binary" run configs/tiny.toml --out "$work/run" "$@" >/dev/null 2>"$work/log" || { cat "$work/log"; exit 1; }
    hash=$(cd "$work/run" && find . -name '*.safetensors' -o -name metrics.jsonl -o -name results.json -o -name samples.jsonl \
        | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c1-32)
    printf '%-44s %s\n' "$name" "$hash" | tee -a "$work/table"
}

build() { # name, target-cpu
    RUSTFLAGS="-C target-cpu=$2" cargo build --release --quiet --target-dir "target/determinism/$1"
    echo "target/determinism/$1/release/instructgpt"
}

machine=$(uname -m)
cargo build --release --quiet
native=target/release/instructgpt
for threads in 1 2 3 7; do
    hash_run "native, $threads threads" "$native" --threads "$threads"
done
hash_run "native, micro-batches of 128 tokens" "$native" --set micro_batch_tokens=128
if [ "$machine" = x86_64 ]; then
    hash_run "x86-64-v3" "$(build v3 x86-64-v3)"
    if grep -q avx512f /proc/cpuinfo 2>/dev/null; then
        hash_run "x86-64-v4" "$(build v4 x86-64-v4)"
    else
        echo "x86-64-v4: skipped, this machine has no AVX-512"
    fi
    if [ "$quick" != quick ]; then
        hash_run "x86-64, no FMA instruction" "$(build v1 x86-64)"
        cargo build --quiet
        hash_run "native, development build" target/debug/instructgpt
    fi
fi
if [ "$(awk '{print $NF}' "$work/table" | sort -u | wc -l)" -ne 1 ]; then
    echo "determinism: the hashes differ" >&2
    exit 1
fi
echo "determinism: all hashes are equal"
