#!/bin/sh
# Builds llama.cpp and bench_llama into target/bench_llama, with the cmake and ninja of `requirements-bench.txt`:
#
#     sh reference/bench_llama/build.sh PYTHON
#
# The sources are those inside the package llama-cpp-python, which PyPI has. Where this fails (no C++ compiler, no
# network) the table has no llama.cpp, and says so.
set -e
version=0.3.36
out=target/bench_llama
sources=$out/llama_cpp_python-$version
bin=$(dirname "$1")
mkdir -p $out
if [ ! -d $sources ]; then
	"$1" -m pip download --quiet --no-deps --no-binary :all: --no-build-isolation --dest $out llama-cpp-python==$version
	tar xzf $sources.tar.gz -C $out
	rm $sources.tar.gz
fi
PATH=$bin:$PATH
export PATH
cmake -G Ninja -S reference/bench_llama -B $out/build -DCMAKE_BUILD_TYPE=Release \
	-DLLAMA="$PWD/$sources/vendor/llama.cpp" >$out/cmake.log
ninja -C $out/build bench_llama >$out/ninja.log
