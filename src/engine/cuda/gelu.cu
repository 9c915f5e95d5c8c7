// GELU in its two forms, as `plain/gelu.rs` has it: a thread an element.

#define SQRT_2_OVER_PI 0.7978846f
#define CUBIC 0.044715f
#define ROOT_HALF 0.707106769f
#define DENSITY 0.3989423f

__device__ __forceinline__ float gelu_argument(float x) { return SQRT_2_OVER_PI * __fmaf_rn(CUBIC * x * x, x, x); }

__device__ __forceinline__ float gelu_with_tanh(float x) { return 0.5f * x * (1.0f + tanh_(gelu_argument(x))); }

__device__ __forceinline__ float gelu_with_tanh_slope(float x) {
    float t = tanh_(gelu_argument(x));
    float du = SQRT_2_OVER_PI * __fmaf_rn(3.0f * CUBIC * x, x, 1.0f);
    return __fmaf_rn(0.5f * x * __fmaf_rn(-t, t, 1.0f), du, 0.5f * (1.0f + t));
}

__device__ __forceinline__ float gelu_with_erf(float x) { return 0.5f * x * (1.0f + erf_(x * ROOT_HALF)); }

__device__ __forceinline__ float gelu_with_erf_slope(float x) {
    float density = DENSITY * exp_(-0.5f * x * x);
    return __fmaf_rn(x, density, 0.5f * (1.0f + erf_(x * ROOT_HALF)));
}

// y = gelu(x), n numbers.
extern "C" __global__ void gelu_forward(float *y, const float *x, int with_tanh, i64 n) {
    i64 i = thread_number();
    if (i < n) y[i] = with_tanh ? gelu_with_tanh(x[i]) : gelu_with_erf(x[i]);
}

// dx = dy gelu'(x), in place of dy.
extern "C" __global__ void gelu_backward(float *dy, const float *x, int with_tanh, i64 n) {
    i64 i = thread_number();
    if (i < n) dy[i] = dy[i] * (with_tanh ? gelu_with_tanh_slope(x[i]) : gelu_with_erf_slope(x[i]));
}
