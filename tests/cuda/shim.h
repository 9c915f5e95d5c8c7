// CUDA's dialect of C++ for the CPU: the words that the project's kernels use, with the meaning that they have on a
// GPU. What is not here does not compile, and so cannot slip in: above all the approximate functions.
//
// The test NVRTC (nvrtc.cpp) puts this before the source, turns `__shared__` arrays into static ones and
// `extern __shared__` ones into `shim_dynamic`, and lists the kernels after it.
#pragma once
#include "block.h"
#include <type_traits>
#include <utility>

#if defined(__x86_64__) && !defined(__FMA__)
#error "the processor has no FMA instruction: one from libm would take minutes"
#endif

#define __global__
#define __host__
#define __device__ __attribute__((unused))
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
// Shared memory is NaN when a block begins: the first of its threads to reach the declaration fills it.
#define SHIM_FRESH(name)                                                                                               \
    do {                                                                                                               \
        static uint64_t fresh_for;                                                                                     \
        if (fresh_for != shim::block_number) fresh_for = shim::block_number, memset(&name, 0xff, sizeof name);         \
    } while (0)

// --- Indices and vectors. ---

struct dim3 : shim::Dim {
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : shim::Dim{x, y, z} {}
};
using uint3 = shim::Dim;
#define threadIdx (shim::self->index)
#define blockIdx (shim::block_index)
#define blockDim (shim::block_size)
#define gridDim (shim::grid_size)
constexpr int warpSize = 32;

#define SHIM_VECTOR(type, name)                                                                                        \
    struct alignas(2 * sizeof(type)) name##2 {                                                                         \
        type x, y;                                                                                                     \
    };                                                                                                                 \
    struct alignas(4 * sizeof(type)) name##4 {                                                                         \
        type x, y, z, w;                                                                                               \
    };                                                                                                                 \
    static inline name##2 make_##name##2(type x, type y) { return {x, y}; }                                            \
    static inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
SHIM_VECTOR(float, float)
SHIM_VECTOR(int, int)
SHIM_VECTOR(unsigned, uint)

// --- Arithmetic: only what is rounded once, to nearest even. ---

static inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __frcp_rn(float a) { return 1.0f / a; }
static inline float __fsqrt_rn(float a) { return __builtin_sqrtf(a); }
#define sqrtf __builtin_sqrtf
#define fabsf __builtin_fabsf
#define copysignf __builtin_copysignf
#define isnan __builtin_isnan

template <class To, class From> static inline To shim_bits(From from) {
    To to;
    static_assert(sizeof to == sizeof from, "not of one size");
    memcpy(&to, &from, sizeof to);
    return to;
}
static inline float __int_as_float(int x) { return shim_bits<float>(x); }
static inline int __float_as_int(float x) { return shim_bits<int>(x); }
static inline float __uint_as_float(unsigned x) { return shim_bits<float>(x); }
static inline unsigned __float_as_uint(float x) { return shim_bits<unsigned>(x); }

#define SHIM_MIN_MAX(type)                                                                                             \
    static inline type min(type a, type b) { return b < a ? b : a; }                                                   \
    static inline type max(type a, type b) { return a < b ? b : a; }
SHIM_MIN_MAX(int)
SHIM_MIN_MAX(unsigned)
SHIM_MIN_MAX(long)
SHIM_MIN_MAX(unsigned long)
SHIM_MIN_MAX(long long)
SHIM_MIN_MAX(unsigned long long)

template <class T> static inline T __ldg(const T *address) { return *address; }

// `x`, or the zero of its sign if it is subnormal.
static inline float shim_flush(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x; }
// fma.rn.ftz.f32.
static inline float fma_ftz(float a, float b, float c) {
    return shim_flush(__builtin_fmaf(shim_flush(a), shim_flush(b), shim_flush(c)));
}

// --- Threads among each other. ---

static inline void __syncthreads() { shim::wait_for_block(); }
static inline void __syncwarp(unsigned mask = ~0u) { shim::exchange(mask, {0}); }

// A value of another lane. One that does not take part has none to give: that is NaN here, and anything on a GPU.
template <class T> static inline T shim_shuffle(unsigned mask, T value, unsigned from) {
    static_assert(sizeof(T) == 4, "a shuffle moves 32 bits");
    auto *all = shim::exchange(mask, {shim_bits<uint32_t>(value)});
    return shim_bits<T>(shim::self->lanes >> from & 1 ? all[from][0] : ~0u);
}
static inline unsigned shim_lane() { return shim::number(shim::self) % 32; }
// Lanes come in segments of `width`, a power of two. A lane whose source lies beyond its segment gets its own value.
template <class T> static inline T __shfl_sync(unsigned mask, T value, int from, int width = 32) {
    unsigned segment = shim_lane() & -width;
    return shim_shuffle(mask, value, segment | (from & (width - 1)));
}
template <class T> static inline T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32) {
    unsigned from = shim_lane() ^ with, end = (shim_lane() & -width) + width;
    return shim_shuffle(mask, value, from < end ? from : shim_lane());
}
template <class T> static inline T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
    unsigned from = shim_lane() + by, end = (shim_lane() & -width) + width;
    return shim_shuffle(mask, value, from < end ? from : shim_lane());
}
template <class T> static inline T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
    int from = (int)shim_lane() - (int)by, begin = shim_lane() & -width;
    return shim_shuffle(mask, value, from >= begin ? from : shim_lane());
}

// --- Tensor cores: d += a b for a whole warp, with the fragments as PTX lays them out. A GPU adds in an order of its
// own; here k ascends and every step is an fma. ---

static inline uint32_t (*shim_fragments(const unsigned a[4], const unsigned b[2]))[shim::WORDS] {
    auto *all = shim::exchange(~0u, {a[0], a[1], a[2], a[3], b[0], b[1]});
    if (shim::self->lanes != ~0u) shim::fail("a product of fragments without the whole warp");
    return all;
}

// mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32
static inline void mma_tf32(float d[4], const unsigned a[4], const unsigned b[2]) {
    auto *all = shim_fragments(a, b);
    auto tf32 = [](uint32_t bits) { return shim_bits<float>(bits & 0xffffe000); };
    for (unsigned i = 0; i < 4; i++) {
        unsigned row = shim_lane() / 4 + i / 2 * 8, column = shim_lane() % 4 * 2 + i % 2;
        for (unsigned k = 0; k < 8; k++) {
            uint32_t x = all[row % 8 * 4 + k % 4][row / 8 + k / 4 * 2], y = all[column * 4 + k % 4][4 + k / 4];
            d[i] = __fmaf_rn(tf32(x), tf32(y), d[i]);
        }
    }
}

// mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
static inline void mma_bf16(float d[4], const unsigned a[4], const unsigned b[2]) {
    auto *all = shim_fragments(a, b);
    auto half = [](uint32_t pair, unsigned k) { return shim_bits<float>(k % 2 ? pair & 0xffff0000 : pair << 16); };
    for (unsigned i = 0; i < 4; i++) {
        unsigned row = shim_lane() / 4 + i / 2 * 8, column = shim_lane() % 4 * 2 + i % 2;
        for (unsigned k = 0; k < 16; k++) {
            uint32_t x = all[row % 8 * 4 + k % 8 / 2][row / 8 + k / 8 * 2], y = all[column * 4 + k % 8 / 2][4 + k / 8];
            d[i] = __fmaf_rn(half(x, k), half(y, k), d[i]);
        }
    }
}

// --- What the test driver calls. ---

template <auto F> struct ShimCall;
template <class... A, void (*F)(A...)> struct ShimCall<F> {
    static constexpr size_t count = sizeof...(A), sizes[] = {sizeof(A)..., 0};
    template <size_t... I> static void with(const void **arguments, std::index_sequence<I...>) {
        F(*(const A *)arguments[I]...);
    }
    static void run(const void **arguments) { with(arguments, std::index_sequence_for<A...>{}); }
};
#define SHIM_KERNEL(name, bounds)                                                                                      \
    extern "C" {                                                                                                       \
    __attribute__((visibility("default"))) shim::Kernel shim_kernel_##name = {                                         \
        [](const shim::Kernel *, shim::Dim grid, shim::Dim block, unsigned dynamic_shared, const void **arguments) {   \
            return shim::launch(#name, ShimCall<&name>::run, grid, block, dynamic_shared, arguments);                  \
        },                                                                                                             \
        shim::where, bounds, ShimCall<&name>::count, ShimCall<&name>::sizes};                                          \
    }
