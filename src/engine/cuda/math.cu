// What all kernels share: the elementary functions of `num/math.rs`, operation by operation, and the sums over a row of
// `plain/reduce.rs`. Nothing is included, so the unit compiles wherever NVRTC does. It is compiled without contraction
// (`--fmad=false`): an addition after a product is fused where it says so, by `__fmaf_rn`, and nowhere else.

typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

// Lanes of a sum. Sixteen threads, half a warp, own a row: thread l is lane l.
#define LANES 16

#define NOT_A_NUMBER __int_as_float(0x7fc00000)
#define INFINITY_ __int_as_float(0x7f800000)

#ifdef __CUDA_ARCH__
// a * b + c, rounded once; subnormal operands and results are taken for zero.
__device__ __forceinline__ float fma_ftz(float a, float b, float c) {
    float d;
    asm("fma.rn.ftz.f32 %0, %1, %2, %3;" : "=f"(d) : "f"(a), "f"(b), "f"(c));
    return d;
}
#endif

__device__ __forceinline__ bool is_nan(float x) { return x != x; }
__device__ __forceinline__ float absolute(float x) { return __int_as_float(__float_as_int(x) & 0x7fffffff); }
__device__ __forceinline__ float copysign_(float x, float sign) {
    return __int_as_float((__float_as_int(x) & 0x7fffffff) | (__float_as_int(sign) & (int)0x80000000));
}

// 2^n for n from -126 to 127.
__device__ __forceinline__ float power_of_two(int n) { return __int_as_float((int)((u32)(n + 127) << 23)); }

#define LN_2_HIGH 0.693147182f
#define LN_2_LOW -1.9046542e-9f
#define ROUND_ 12582912.0f

// e^x = 2^n (1 + u).
__device__ __forceinline__ float exp_parts(float x, int *n) {
    float rounded = __fmaf_rn(x, 1.44269502f, ROUND_);
    *n = __float_as_int(rounded) - __float_as_int(ROUND_);
    float whole = rounded - ROUND_;
    float r = __fmaf_rn(whole, -(LN_2_LOW), __fmaf_rn(whole, -LN_2_HIGH, x));
    float q = 0.00019760994f;
    q = __fmaf_rn(q, r, 0.0013932316f);
    q = __fmaf_rn(q, r, 0.008333547f);
    q = __fmaf_rn(q, r, 0.041666493f);
    q = __fmaf_rn(q, r, 0.16666666f);
    q = __fmaf_rn(q, r, 0.5f);
    return __fmaf_rn(r * r, q, r);
}

__device__ __forceinline__ float exp_(float x) {
    float clamped = x > 89.0f ? 89.0f : x;
    clamped = clamped < -104.0f ? -104.0f : clamped;
    int n;
    float u = exp_parts(clamped, &n);
    int half = n >> 1;
    float y = (1.0f + u) * power_of_two(half) * power_of_two(n - half);
    return is_nan(x) ? NOT_A_NUMBER : y;
}

__device__ __forceinline__ float ln_(float x) {
    bool subnormal = x < 1.17549435e-38f;
    float scaled = subnormal ? x * 8388608.0f : x;
    int bias = subnormal ? 23 : 0;
    int e = (int)((u32)__float_as_int(scaled) - (u32)__float_as_int(0.707106769f)) >> 23;
    float f = __int_as_float((int)((u32)__float_as_int(scaled) - ((u32)e << 23))) - 1.0f;
    float whole = (float)(e - bias);
    float p = 0.06749299f;
    p = __fmaf_rn(p, f, -0.11670115f);
    p = __fmaf_rn(p, f, 0.11883549f);
    p = __fmaf_rn(p, f, -0.12406233f);
    p = __fmaf_rn(p, f, 0.14220358f);
    p = __fmaf_rn(p, f, -0.16667989f);
    p = __fmaf_rn(p, f, 0.20002072f);
    p = __fmaf_rn(p, f, -0.2500001f);
    p = __fmaf_rn(p, f, 0.33333313f);
    float tail = __fmaf_rn(f * f, __fmaf_rn(f, p, -0.5f), whole * LN_2_LOW);
    float high = __fmaf_rn(whole, LN_2_HIGH, f);
    float lost = __fmaf_rn(whole, LN_2_HIGH, -high) + f;
    float y = high + (tail + lost);
    y = x == INFINITY_ ? x : y;
    y = x == 0.0f ? -INFINITY_ : y;
    return x >= 0.0f ? y : NOT_A_NUMBER;
}

__device__ __forceinline__ float tanh_(float x) {
    float a = absolute(x);
    float clamped = a > 9.1f ? 9.1f : a;
    int n;
    float u = exp_parts(2.0f * clamped, &n);
    float scale = power_of_two(n);
    float g = __fmaf_rn(scale, u, scale - 1.0f);
    float y = copysign_(g / (g + 2.0f), x);
    return is_nan(x) ? NOT_A_NUMBER : y;
}

__device__ __forceinline__ float erf_(float x) {
    float a = absolute(x), square = a * a;
    float p = 7.806904e-5f;
    p = __fmaf_rn(p, square, -0.0007997853f);
    p = __fmaf_rn(p, square, 0.005187162f);
    p = __fmaf_rn(p, square, -0.026853347f);
    p = __fmaf_rn(p, square, 0.11283579f);
    p = __fmaf_rn(p, square, -0.37612626f);
    p = __fmaf_rn(p, square, 0.12837917f);
    float below_one = __fmaf_rn(a, p, a);
    float clamped = a > 4.0f ? 4.0f : a;
    float g = 0.00018557269f;
    g = __fmaf_rn(g, clamped, -0.0029396014f);
    g = __fmaf_rn(g, clamped, 0.021805312f);
    g = __fmaf_rn(g, clamped, -0.10303737f);
    g = __fmaf_rn(g, clamped, -0.6382257f);
    g = __fmaf_rn(g, clamped, -1.12704f);
    g = __fmaf_rn(g, clamped, -0.00035372484f);
    int n;
    float u = exp_parts(g, &n);
    float scale = power_of_two(n);
    float above_one = 1.0f - __fmaf_rn(scale, u, scale);
    float y = copysign_(a < 1.0f ? below_one : above_one, x);
    return is_nan(x) ? NOT_A_NUMBER : y;
}

// The threads of this thread's row: half of its warp. The rows of a warp may be of different lengths.
__device__ __forceinline__ u32 row_mask() { return 0xffffu << (threadIdx.x & 16); }

// The lanes of a row added by halves, 8-4-2-1; every thread of the row gets the sum. What a thread adds from its partner
// is what the definition adds there, or the same two numbers the other way round.
__device__ __forceinline__ float halving_sum(float lane) {
    u32 mask = row_mask();
    lane = lane + __shfl_xor_sync(mask, lane, 8);
    lane = lane + __shfl_xor_sync(mask, lane, 4);
    lane = lane + __shfl_xor_sync(mask, lane, 2);
    return lane + __shfl_xor_sync(mask, lane, 1);
}

__device__ __forceinline__ float greater(float a, float b) { return b > a ? b : a; }

// The greatest of the lanes, taken in order from lane 0, which stands in the row's thread `first`: of +0 and -0 it is
// the first.
__device__ __forceinline__ float lanes_max(float lane, int first) {
    u32 mask = row_mask();
    float max = -INFINITY_;
    for (int l = 0; l < LANES; l++) max = greater(max, __shfl_sync(mask, lane, (l + first) % LANES, LANES));
    return max;
}

// Thread's number in a grid of one dimension.
__device__ __forceinline__ i64 thread_number() { return (i64)blockIdx.x * blockDim.x + threadIdx.x; }
