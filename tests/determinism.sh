#!/bin/sh
# One table of hashes: what the tiny run leaves, for threads, micro-batch sizes, instruction sets, machines, builds, a
# second run, and one that is killed again and again. Every row must have the known hashes (tests/tiny_run.sha256).
#   sh tests/determinism.sh          everything: native, v3, v4 where the machine has AVX-512 or Bochs emulates it (see
#                                    tests/bochs.sh), x86-64 without FMA, a development build and one without any
#                                    optimisation; aarch64 under qemu and WebAssembly under node, and several ranks under
#                                    Open MPI and MPICH, where there are the tools (each says what it lacks)
#   sh tests/determinism.sh avx512   only the emulated v4
#   sh tests/determinism.sh quick    native as a development build, v3, and a few ranks (what CI runs)
#   sh tests/determinism.sh bless    writes the known hashes anew, for a change of a definition that is meant
set -eu
cd "$(dirname "$0")/.."
mode=${1:-full}
known=$PWD/tests/tiny_run.sha256
files="pretrain/model.safetensors sft/model.safetensors reward_model/model.safetensors
    rlhf_init/model.safetensors policy_without_ptx/model.safetensors policy/model.safetensors
    comparisons.jsonl metrics.jsonl results.json samples.jsonl"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=$work/run
differ=0

tiny() { # binary, further arguments
    binary=$1; shift
    "$binary" run configs/tiny.toml --out "$out" "$@" >/dev/null 2>"$work/log"
}

row() { # name: the hashes of what lies in $out, beside the known ones
    (cd "$out" && sha256sum $files) >"$work/found"
    rm -rf "$out"
    if [ "$mode" = bless ]; then
        cp "$work/found" "$known"
    fi
    compare "$1" "$known"
}

compare() { # name, known hashes: those in $work/found beside them
    printf '%-34s' "$1"
    awk '{ printf " %s", substr($1, 1, 8) }' "$work/found"
    if ! cmp -s "$work/found" "$2"; then
        differ=$((differ + 1))
        printf '  differs:'
        diff "$work/found" "$2" | awk '/^>/ { printf " %s", $3 }'
    fi
    echo
}

run() { # name, binary, further arguments
    name=$1; shift
    tiny "$@" || { cat "$work/log"; exit 1; }
    row "$name"
}

killed() { # name, binary: killed after 0.1 s, 0.2 s ... of work, and resumed, until it gets through
    kills=0
    while :; do
        "$2" run configs/tiny.toml --out "$out" --resume >/dev/null 2>"$work/log" &
        process=$!
        sleep "$(awk "BEGIN { print ($kills % 10 + 1) / 10 }")"
        kill -9 $process 2>/dev/null || true
        status=0
        wait $process 2>/dev/null || status=$?
        [ $status -ne 0 ] || break
        [ $status -eq 137 ] || { cat "$work/log"; exit 1; }
        kills=$((kills + 1))
    done
    row "$1, $kills times"
}

build() { # name, target-cpu
    # CI has little time, and the bits are those of any optimisation.
    [ "$mode" != quick ] || export CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_DEBUG=0
    RUSTFLAGS="-C target-cpu=$2" cargo build --release --quiet --target-dir "target/determinism/$1"
    echo "target/determinism/$1/release/instructgpt"
}

has_target() { # whether the compiler has a target's standard library: rustup target add TARGET
    [ -d "$(rustc --print target-libdir --target "$1")" ]
}

aarch64() { # the same program for 64-bit Arm, emulated
    qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64 || true)
    if [ -z "$qemu" ] || ! command -v aarch64-linux-gnu-gcc >/dev/null || ! has_target aarch64-unknown-linux-gnu; then
        echo "aarch64: skipped, it takes qemu-user-static, gcc-aarch64-linux-gnu and rustup's aarch64-unknown-linux-gnu"
        return
    fi
    RUSTFLAGS='' CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc cargo build --release --quiet \
        --target aarch64-unknown-linux-gnu --target-dir target/determinism/aarch64
    # Where the linker's C library lies, as the program is linked to it.
    printf '#!/bin/sh\nexec %s -L /usr/aarch64-linux-gnu %s "$@"\n' "$qemu" \
        target/determinism/aarch64/aarch64-unknown-linux-gnu/release/instructgpt >"$work/aarch64"
    chmod +x "$work/aarch64"
    run "aarch64, under qemu" "$work/aarch64"
}

avx512() { # the same program for AVX-512 and its instruction for bf16, on an emulated processor
    if [ -z "${BOCHS:-}" ] || [ -z "${KERNEL:-}" ]; then
        echo "x86-64-v4: skipped, this machine has no AVX-512; to emulate it takes BOCHS and KERNEL, see tests/bochs.sh"
        return
    fi
    RUSTFLAGS="-C target-cpu=x86-64-v4 -C target-feature=+avx512bf16,+crt-static" cargo build --release --quiet \
        --target x86_64-unknown-linux-gnu --target-dir target/determinism/bochs
    commands="/instructgpt doctor; true"
    for precision in f32 bf16; do
        commands="$commands && /instructgpt run /configs/tiny.toml --out /$precision --threads 1 \
            --set precision=$precision >/log 2>&1 && (cd /$precision && sha256sum $(echo $files))"
    done
    sh tests/bochs.sh target/determinism/bochs/x86_64-unknown-linux-gnu/release/instructgpt \
        "{ $commands; } || { cat /log; false; }" >"$work/guest" || { cat "$work/guest"; exit 1; }
    # Which instructions the build has, and whether its operations have the bits of their definitions.
    grep -E '^(avx512|cpu:)' "$work/guest"
    tiny "$native" --threads 1 --set precision=bf16 || { cat "$work/log"; exit 1; }
    (cd "$out" && sha256sum $files) >"$work/bf16"
    rm -rf "$out"
    hashes=$(echo $files | wc -w)
    grep -E '^[0-9a-f]{64} ' "$work/guest" >"$work/both"
    head -n "$hashes" "$work/both" >"$work/found"
    compare "x86-64-v4, under Bochs" "$known"
    tail -n "$hashes" "$work/both" >"$work/found"
    compare "the same in bf16, beside native" "$work/bf16"
}

wasm32() { # the library in WebAssembly, without SIMD, FMA or threads: examples/repeat.rs on a run's config.toml
    if ! command -v node >/dev/null || ! has_target wasm32-wasip1; then
        echo "wasm32: skipped, it takes node and rustup's wasm32-wasip1"
        return
    fi
    RUSTFLAGS='' cargo build --release --quiet --no-default-features --features std --example repeat \
        --target wasm32-wasip1 --target-dir target/determinism/wasm32
    "$native" run configs/tiny.toml --out "$work/native" >/dev/null 2>"$work/log"
    node --no-warnings tests/wasi.mjs target/determinism/wasm32/wasm32-wasip1/release/examples/repeat.wasm \
        "$work/native/config.toml" "$out" 2>"$work/log" || { cat "$work/log"; exit 1; }
    row "wasm32, under node"
}

# As root, and with more ranks than cores, Open MPI wants to be told; and which of the libraries that are there is not said.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 \
    OMPI_MCA_mpi_yield_when_idle=1
unset INSTRUCTGPT_MPI

mpi() { # name, binary, numbers of ranks, launcher and its arguments: the run by so many ranks
    name=$1 binary=$2 numbers=$3; shift 3
    for ranks in $numbers; do
        "$@" -n "$ranks" "$binary" run configs/tiny.toml --out "$out" --threads 1 >/dev/null 2>"$work/log" ||
            { cat "$work/log"; exit 1; }
        row "$name, ranks: $ranks"
    done
}

mpi_killed() { # name, binary, kills, launcher and its arguments: a rank is killed after a while, and others go on
    name=$1 binary=$2 wanted=$3; shift 3
    kills=0 runs=0
    while [ $kills -lt "$wanted" ]; do
        ranks=$((kills % 4 + 1))
        "$@" -n $ranks "$binary" run configs/tiny.toml --out "$out" --threads 1 --resume --set checkpoint_every=1 \
            >/dev/null 2>"$work/log" &
        launcher=$!
        sleep "$(awk "BEGIN { print ($kills * 7 % 10 + 4) / 10 }")"
        victim=$(pgrep -f "run configs/tiny.toml --out $out" | grep -v "^$launcher\$" | sed -n "$((kills * 5 % ranks + 1))p")
        [ -z "$victim" ] || kill -9 "$victim" 2>/dev/null || victim=
        killed=$(date +%s)
        status=0
        wait $launcher || status=$?
        [ $(($(date +%s) - killed)) -lt 10 ] || { echo "$name: the others went on for 10 s"; exit 1; }
        if pgrep -f "run configs/tiny.toml --out $out" >/dev/null; then
            echo "$name: a process is left"; exit 1
        fi
        if [ $status -eq 0 ] && [ -f "$out/report.html" ]; then
            runs=$((runs + 1))
            rm -rf "$work/whole"; mv "$out" "$work/whole"
        fi
        [ -z "$victim" ] || kills=$((kills + 1))
    done
    "$binary" run configs/tiny.toml --out "$out" --resume --set checkpoint_every=1 >/dev/null 2>"$work/log" || { cat "$work/log"; exit 1; }
    row "$name, $kills times"
    echo "    ($runs runs got through between the kills)"
}

printf '%-34s' "build and how it ran"
printf ' %-8s' pretrain sft reward init ppo ppo_ptx compared metrics results samples
echo
# What CI runs is the optimised development build that `make test` has made. (`cargo build` would make it anew, because the
# tests' dependencies turn on features of the program's.)
if [ "$mode" = quick ]; then
    cargo test --quiet --features label,mpi --test cli --no-run
    native=${CARGO_TARGET_DIR:-target}/debug/instructgpt
else
    cargo build --quiet --release
    native=${CARGO_TARGET_DIR:-target}/release/instructgpt
fi
if [ "$mode" = avx512 ]; then
    avx512
    [ "$differ" -eq 0 ] || { echo "determinism: $differ rows differ" >&2; exit 1; }
    exit 0
fi
run "native, 1 thread" "$native" --threads 1
[ "$mode" != bless ] || exit 0
for threads in 2 3 7; do
    run "native, $threads threads" "$native" --threads "$threads"
done
run "native, a second run" "$native"
run "native, micro-batches of 128" "$native" --set micro_batch_tokens=128
killed "native, killed" "$native"
if [ "$(uname -m)" = x86_64 ]; then
    run "x86-64-v3" "$(build v3 x86-64-v3)"
    if ! grep -q avx512f /proc/cpuinfo 2>/dev/null; then
        avx512
    elif [ "$mode" != quick ]; then
        # (The native build has AVX-512 here.)
        run "x86-64-v4" "$(build v4 x86-64-v4)"
    fi
    if [ "$mode" != quick ]; then
        run "x86-64, no FMA instruction" "$(build v1 x86-64)"
    fi
fi
if [ "$mode" != quick ]; then
    cargo build --quiet
    run "development build" "${CARGO_TARGET_DIR:-target}/debug/instructgpt"
    CARGO_PROFILE_DEV_OPT_LEVEL=0 cargo build --quiet --target-dir target/determinism/unoptimised
    run "development build, unoptimised" target/determinism/unoptimised/debug/instructgpt
fi
if [ "$mode" != quick ]; then
    aarch64
    wasm32
fi
# Several ranks. `make test` builds with the feature `mpi`, so that CI has only the runs to make.
if [ "$mode" = quick ]; then
    with_mpi=$native few=3 kills=3
else
    cargo build --release --quiet --features mpi --target-dir target/determinism/mpi
    with_mpi=target/determinism/mpi/release/instructgpt few="1 2 3 4" kills=40
fi
if command -v mpirun.openmpi >/dev/null; then
    mpi "Open MPI" "$with_mpi" "$few" mpirun.openmpi
    mpi "Open MPI over TCP" "$with_mpi" 2 mpirun.openmpi --mca btl self,tcp
    mpi_killed "Open MPI, a rank killed" "$with_mpi" $kills mpirun.openmpi
else
    echo "Open MPI: skipped, it takes mpirun.openmpi (Debian: openmpi-bin)"
fi
if command -v mpiexec.mpich >/dev/null; then
    mpi "MPICH" "$with_mpi" "$few" mpiexec.mpich
else
    echo "MPICH: skipped, it takes mpiexec.mpich (Debian: mpich)"
fi
if [ "$mode" != quick ]; then
    # Ranks on two hosts, which compares by itself.
    BINARY=$with_mpi sh tests/two_hosts.sh
fi
if [ "$differ" -ne 0 ]; then
    echo "determinism: $differ rows differ from tests/tiny_run.sha256" >&2
    exit 1
fi
echo "determinism: every row has the known hashes"
