// The parts of the gradient's length, as `plain/gradient_norm.rs` has it, and the search for what is not finite. The host
// adds the parts up, in order and in f64.

// Elements of a chunk of the flat buffer.
#define CHUNK 4096

// parts[chunk] = the sum of squares of a chunk: sixteen threads, each a lane, a chain that ends with products of +0.
extern "C" __global__ void gradient_norm(float *parts, const float *gradients, i64 n) {
    i64 chunk = thread_number() / LANES, chunks = (n + CHUNK - 1) / CHUNK;
    if (chunk >= chunks) return;
    int lane = threadIdx.x % LANES;
    i64 start = chunk * CHUNK;
    int length = (int)(n - start < CHUNK ? n - start : CHUNK);
    float sum = 0.0f;
    for (int i = lane; i < (length / LANES + 1) * LANES; i += LANES) {
        float x = i < length ? gradients[start + i] : 0.0f;
        sum = __fmaf_rn(x, x, sum);
    }
    sum = halving_sum(sum);
    if (lane == 0) parts[chunk] = sum;
}

// found[chunk] = the first of a chunk's elements that is infinite or NaN, CHUNK if there is none: sixteen threads.
extern "C" __global__ void first_non_finite(u32 *found, const float *values, i64 n) {
    i64 chunk = thread_number() / LANES, chunks = (n + CHUNK - 1) / CHUNK;
    if (chunk >= chunks) return;
    i64 start = chunk * CHUNK;
    int length = (int)(n - start < CHUNK ? n - start : CHUNK), first = CHUNK;
    for (int i = threadIdx.x % LANES; i < length; i += LANES)
        if (first == CHUNK && (__float_as_int(values[start + i]) & 0x7f800000) == 0x7f800000) first = i;
    for (int half = 8; half > 0; half /= 2) {
        int other = __shfl_xor_sync(row_mask(), first, half);
        first = other < first ? other : first;
    }
    if (threadIdx.x % LANES == 0) found[chunk] = (u32)first;
}
