# Two commands do everything for a newcomer: `make demo` and `make test`.
# An environment RUSTFLAGS would replace .cargo/config.toml's target-cpu=native: same bits, less speed.

.PHONY: help build demo paper demo-check test test-label test-cuda fixtures fixtures-check mutants mutants-cuda bench bench-growth bench-repdl bench-cuda bench-trl eval-check vectors-check conformance docs lint determinism fuzz soak miri no-std clean

help:
	@echo "make demo         the whole pipeline on the built-in miniature: a table and a report, in some minutes"
	@echo "make demo-check   whether the demo still gives the picture, answers and tables of README and docs"
	@echo "make paper        the paper's main claims in miniature, at three sizes: a table of verdicts and a page (26"
	@echo "                  minutes on two cores)"
	@echo "make test         all tests (under 5 minutes after the build)"
	@echo "make test-label   the labelers' page, with 200 kills and its times on 10,000 items (the browser's part needs Chromium)"
	@echo "make test-cuda    the CUDA engine's tests, on a GPU or behind a driver of our own (needs a C++ compiler)"
	@echo "make docs         the API documentation, in target/doc"
	@echo "make lint         format, clippy and docs with warnings denied"
	@echo "make determinism  whether a tiny run has the known hashes on any threads, micro-batches and builds, and killed"
	@echo "                  (with BOCHS and KERNEL also on an emulated processor with AVX-512: tests/bochs.sh)"
	@echo "make fuzz         the fuzzer on every reader (or READERS=...) for SECONDS=600 each (needs nightly Rust and"
	@echo "                  cargo-fuzz)"
	@echo "make soak         whether memory and open files stay as they are over 20,000 updates of PPO"
	@echo "make miri         Miri on the embedded example's allocator (needs nightly Rust with miri)"
	@echo "make no-std       the core without std, the library without the program, and the embedded example against"
	@echo "                  the program"
	@echo "make bench        our speed beside torch.compile, CTranslate2, llama.cpp, PyTorch, Transformers and the gemm"
	@echo "                  crate (the same environment as fixtures); CORPUS=text.txt adds BPE beside tokenizers"
	@echo "make bench-growth how a training step's time and memory grow: a table, and docs/growth.svg"
	@echo "make bench-repdl  whether RepDL's matrix products have our bits (the same environment, a C++ compiler, git)"
	@echo "make bench-cuda   the CUDA engine beside PyTorch on this machine's GPU, exact and on tensor cores"
	@echo "make bench-trl    PPO beside TRL's (a Python environment of its own, 6 GB)"
	@echo "make eval-check   whether evaluate gives what lm-evaluation-harness gives, and how fast beside it, on the files"
	@echo "                  below DATA=folder (a Python environment of its own, 6 GB)"
	@echo "make fixtures     make fixtures/ again with PyTorch (a Python environment of its own, 6 GB)"
	@echo "make vectors-check  the Python package of the vectors: its wheel, built, installed and tested (needs PyPI)"
	@echo "make conformance  reference/CONFORMANCE.md again: other programs against the vectors (the same environment as"
	@echo "                  fixtures, and the network)"
	@echo "make mutants-cuda whether the tests notice each of 48 errors put into the CUDA kernels (needs a C++ compiler)"
	@echo "make mutants      whether the tests notice each of 115 errors put into the library, one at a time (or ONLY=\"NAME .."
	@echo "                  of tests/mutants.py), and, where fixtures' environment is, the golden tests each of 56 in the"
	@echo "                  reference"

build:
	cargo build --release

demo: build
	target/release/instructgpt demo --out runs/demo $(if $(wildcard runs/demo/config.toml),--resume)

# Goes on where it was stopped.
paper: build
	target/release/instructgpt reproduce --headline --out runs/paper

# Compares what the documents show with runs/demo, which is made if it is missing; remove it after a change of the code.
# UPDATE=1 writes the picture and its measures anew.
demo-check: demo
	cargo test --test readme -- --ignored

# With the labelers' page, so that one build has all; what builds without it, and the examples, are looked at by clippy.
test:
	cargo test --features label,mpi --lib --bins --tests

# A build of its own features; the times are those of a release build.
test-label:
	cargo test --features label --lib label
	cargo test --release --features label --test label -- --include-ignored --nocapture

# Behind the test driver, or on a GPU; see docs/gpu.md.
test-cuda:
	cargo test --features cuda --test cuda --test cuda_program --test cuda_ptx --test cuda_test_driver

no-std:
	cargo build --no-default-features --lib
	cargo check --no-default-features --features std --lib
	cargo test --test no_std

lint:
	cargo fmt --check
	cargo clippy --features label,mpi --all-targets -- -D warnings
	cargo clippy --lib --bins -- -D warnings
	cargo clippy --features cuda --lib --bins --test 'cuda*' -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

determinism:
	sh tests/determinism.sh

miri:
	cargo +nightly miri test --test heap

soak:
	cargo test --release --test soak -- --ignored --nocapture

# Hostile files, for one reader after another (fuzz/readers.rs). Seeds are in fuzz/seeds; what is found goes to
# fuzz/artifacts, and `READER=NAME cargo +nightly fuzz run readers FILE` repeats it.
SECONDS ?= 600
READERS ?= $(notdir $(wildcard fuzz/seeds/*))
# To all others JSON's own words are of use.
NO_JSON = gzip text run_configuration
fuzz:
	cargo +nightly fuzz build
	for reader in $(READERS); do \
		case " $(NO_JSON) " in *" $$reader "*) words= ;; *) words=-dict=fuzz/json.dict ;; esac; \
		mkdir -p fuzz/corpus/$$reader; \
		READER=$$reader cargo +nightly fuzz run readers fuzz/corpus/$$reader fuzz/seeds/$$reader -- $$words \
			-max_total_time=$(SECONDS) -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 || exit 1; \
	done

# PyPI's torch brings its CUDA libraries: 5.6 GB. Nothing else here needs Python.
.venv-fixtures/done: reference/requirements.txt
	python3 -m venv .venv-fixtures
	.venv-fixtures/bin/pip install --quiet --requirement reference/requirements.txt
	touch $@

fixtures: .venv-fixtures/done
	.venv-fixtures/bin/python reference/make_fixtures.py --out fixtures
	.venv-fixtures/bin/python reference/make_metric_fixtures.py --out fixtures
	.venv-fixtures/bin/python reference/make_cases.py --out fixtures

fixtures-check: .venv-fixtures/done
	.venv-fixtures/bin/python reference/make_fixtures.py --out fixtures --check
	.venv-fixtures/bin/python reference/make_metric_fixtures.py --out fixtures --check
	.venv-fixtures/bin/python reference/make_cases.py --out fixtures --check
	.venv-fixtures/bin/python reference/self_check.py

vectors-check:
	sh reference/python/check.sh

# Versions are pinned in the script; what it fetches goes to .venv-peers.
conformance: .venv-fixtures/done
	.venv-fixtures/bin/python reference/conformance.py --peers .venv-peers --out reference/CONFORMANCE.md

# One build of the tests, then some seconds for each error: 25 minutes on two cores. The reference's needs PyTorch.
mutants:
	python3 tests/mutants.py $(ONLY)
	@if [ -n "$(ONLY)" ]; then true; \
	elif [ -e .venv-fixtures/done ]; then .venv-fixtures/bin/python reference/mutants.py; \
	else echo "the errors in the reference were left out: \`make fixtures\` makes the environment that they need"; fi

# The CUDA engine beside PyTorch on this machine's GPU: training steps, sampling and PPO iterations of the 10.8M and 124M
# models. Exact against f32 with TF32 off; tensor cores against bf16, eager and compiled.
bench-cuda: .venv-fixtures/done
	cargo build --release --features cuda
	nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
	target/release/instructgpt doctor
	.venv-fixtures/bin/python reference/bench_side_by_side.py --device cuda --against torch
	.venv-fixtures/bin/python reference/bench_side_by_side.py --device cuda --against torch --precision bf16-fast --dtype bf16
	.venv-fixtures/bin/python reference/bench_side_by_side.py --device cuda --against compile --precision bf16-fast --dtype bf16 \
		--only step/

mutants-cuda:
	python3 tests/mutants_cuda.py $(ONLY)

# What only the comparisons need, in the same environment.
.venv-fixtures/bench: .venv-fixtures/done reference/requirements-bench.txt
	.venv-fixtures/bin/pip install --quiet --requirement reference/requirements-bench.txt
	touch $@

# Where llama.cpp cannot be built, the table is made without it and says so.
bench: .venv-fixtures/bench
	cargo build --release --bin instructgpt --example side_by_side
	cargo build --release --manifest-path reference/bench_gemm/Cargo.toml --target-dir target/bench_gemm
	-sh reference/bench_llama/build.sh .venv-fixtures/bin/python
	.venv-fixtures/bin/python reference/bench_side_by_side.py $(if $(CORPUS),--corpus $(CORPUS)) $(if $(ONLY),--only $(ONLY))

bench-growth:
	cargo build --release --example growth
	python3 reference/bench_growth.py --chart docs/growth.svg

bench-repdl: .venv-fixtures/bench
	cargo build --release --example side_by_side
	PATH="$(CURDIR)/.venv-fixtures/bin:$$PATH" .venv-fixtures/bin/python reference/bench_repdl.py

# TRL's last version with PPO needs older versions of everything.
.venv-trl/done: reference/requirements-trl.txt
	python3 -m venv .venv-trl
	.venv-trl/bin/pip install --quiet --requirement reference/requirements-trl.txt
	touch $@

bench-trl: build .venv-trl/done
	.venv-trl/bin/python reference/bench_side_by_side.py --against trl

.venv-eval/done: reference/requirements-eval.txt
	python3 -m venv .venv-eval
	.venv-eval/bin/pip install --quiet --requirement reference/requirements-eval.txt
	touch $@

# GPT-2's tokenizer is looked for in $(DATA)/gpt2-bpe.
eval-check: build .venv-eval/done
	.venv-eval/bin/python reference/random_gpt2.py --bpe $(DATA)/gpt2-bpe --out target/random_gpt2/tiny
	.venv-eval/bin/python reference/random_gpt2.py --bpe $(DATA)/gpt2-bpe --out target/random_gpt2/small --size small
	.venv-eval/bin/python reference/random_gpt2.py --bpe $(DATA)/gpt2-bpe --out target/random_gpt2/124M --size 124M
	.venv-eval/bin/python reference/check_eval.py --model target/random_gpt2/tiny --data $(DATA) --shots 0 2 --limit 300 \
		--kind choosing
	.venv-eval/bin/python reference/check_eval.py --model target/random_gpt2/small --data $(DATA) --shots 0 2 --limit 100 \
		--kind writing
	.venv-eval/bin/python reference/bench_eval.py --model target/random_gpt2/124M \
		--lambada $(shell find $(DATA) -name lambada_openai.jsonl | head -1)

clean:
	cargo clean
	rm -rf runs .venv-fixtures .venv-trl .venv-eval .venv-peers
