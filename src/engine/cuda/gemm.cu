// Matrix products C = init + A B, each element one chain over k ascending, as `plain/gemm.rs` has it:
//
//     acc = init[i][j];  for p in 0..k { acc = fma(A[i][p], B[p][j], acc) };  C[i][j] = acc
//
// A block of 16 x 16 threads makes a tile of C, each thread EACH x EACH of its elements, from slices of A and B that are
// DEPTH deep: while one pair of slices is used, the next is fetched. Neither tile nor slice shows in a bit. A slice that
// is not full is not padded: fma(0, 0, -0) would be +0.

#define DEPTH 8

// What the chains start from.
#define ZERO 0
#define BIAS 1
#define ACCUMULATE 2

// The row or column of a tile that is a thread's i-th: groups of up to four lie side by side, to be read at once.
template <int EACH> __device__ __forceinline__ int place(int thread, int i) {
    const int group = EACH < 4 ? EACH : 4;
    return (i / group) * (16 * group) + thread * group + i % group;
}

// c (m, n); A[i][p] = a[i * ai + p * ap], B[p][j] = b[p * bp + j * bj]. In bf16 the k elements consist of runs, and a
// pair lies within one: run r is runs[r]..runs[r + 1], counted from runs[0]; without runs there is one of k.
template <int EACH, bool BF16>
__device__ __forceinline__ void product(float *c, const float *a, const float *b, const float *bias, int init, int m,
                                        int n, int k, const u32 *runs, int run_count, int ai, int ap, int bp, int bj) {
    const int TILE = 16 * EACH, LOADS = TILE * DEPTH / 256;
    // Four more, so that threads which store a column do not meet in one bank.
    __shared__ __align__(16) float a_slice[2][DEPTH][TILE + 4];
    __shared__ __align__(16) float b_slice[2][DEPTH][TILE + 4];
    int thread = threadIdx.x, tx = thread % 16, ty = thread / 16;
    int row0 = blockIdx.y * TILE, column0 = blockIdx.x * TILE;

    float acc[EACH][EACH];
#pragma unroll
    for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            int row = row0 + place<EACH>(ty, i), column = column0 + place<EACH>(tx, j);
            acc[i][j] = 0.0f;
            if (init != ZERO && row < m && column < n) acc[i][j] = init == BIAS ? bias[column] : c[(i64)row * n + column];
        }

    // The slice that is fetched: it begins at p and ends at end, or DEPTH later.
    int run = 0, p = 0, end = run_count > 0 ? (int)(runs[1] - runs[0]) : k;
    float a_next[LOADS], b_next[LOADS];
    // Goes to the next run that is not empty, and fetches; false where there is none.
    auto fetch = [&]() -> bool {
        while (p >= end) {
            if (++run >= run_count) return false;
            p = (int)(runs[run] - runs[0]), end = (int)(runs[run + 1] - runs[0]);
        }
#pragma unroll
        for (int u = 0; u < LOADS; u++) {
            // Neighbouring threads read neighbouring numbers.
            int e = thread + u * 256;
            int q = p + (ap == 1 ? e % DEPTH : e / TILE), row = row0 + (ap == 1 ? e / DEPTH : e % TILE);
            a_next[u] = q < end && row < m ? a[(i64)row * ai + (i64)q * ap] : 0.0f;
            q = p + (bj == 1 ? e / TILE : e % DEPTH);
            int column = column0 + (bj == 1 ? e % TILE : e / DEPTH);
            b_next[u] = q < end && column < n ? b[(i64)q * bp + (i64)column * bj] : 0.0f;
        }
        return true;
    };
    auto store = [&](int half) {
#pragma unroll
        for (int u = 0; u < LOADS; u++) {
            int e = thread + u * 256;
            float x = BF16 ? bf16_round(a_next[u]) : a_next[u], y = BF16 ? bf16_round(b_next[u]) : b_next[u];
            a_slice[half][ap == 1 ? e % DEPTH : e / TILE][ap == 1 ? e / DEPTH : e % TILE] = x;
            b_slice[half][bj == 1 ? e / TILE : e % DEPTH][bj == 1 ? e % TILE : e / DEPTH] = y;
        }
    };
    auto step = [&](int half, int q) {
        float x[EACH], y[EACH];
#pragma unroll
        for (int i = 0; i < EACH; i++) x[i] = a_slice[half][q][place<EACH>(ty, i)];
#pragma unroll
        for (int j = 0; j < EACH; j++) y[j] = b_slice[half][q][place<EACH>(tx, j)];
#pragma unroll
        for (int i = 0; i < EACH; i++)
#pragma unroll
            for (int j = 0; j < EACH; j++) acc[i][j] = __fmaf_rn(x[i], y[j], acc[i][j]);
    };
    // Two steps deep. At the end of an odd run the second element of the pair is +0, as slices are beyond a run.
    auto step_of_pair = [&](int half, int q) {
        float x[2][EACH], y[2][EACH];
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            x[0][i] = a_slice[half][q][place<EACH>(ty, i)], x[1][i] = a_slice[half][q + 1][place<EACH>(ty, i)];
            y[0][i] = b_slice[half][q][place<EACH>(tx, i)], y[1][i] = b_slice[half][q + 1][place<EACH>(tx, i)];
        }
#pragma unroll
        for (int i = 0; i < EACH; i++)
#pragma unroll
            for (int j = 0; j < EACH; j++) acc[i][j] = bf16_step(x[0][i], x[1][i], y[0][j], y[1][j], acc[i][j]);
    };

    bool more = fetch();
    if (more) store(0);
    __syncthreads();
    for (int half = 0; more; half ^= 1) {
        int depth = end - p < DEPTH ? end - p : DEPTH;
        p += DEPTH;
        more = fetch();
        if (BF16) {
#pragma unroll
            for (int q = 0; q < DEPTH; q += 2)
                if (q < depth) step_of_pair(half, q);
        } else if (depth == DEPTH) {
#pragma unroll
            for (int q = 0; q < DEPTH; q++) step(half, q);
        } else {
            for (int q = 0; q < depth; q++) step(half, q);
        }
        if (more) store(half ^ 1);
        __syncthreads();
    }

#pragma unroll
    for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            int row = row0 + place<EACH>(ty, i), column = column0 + place<EACH>(tx, j);
            if (row < m && column < n) c[(i64)row * n + column] = acc[i][j];
        }
}

// The tile shapes: 128 x 128 where the matrix fills the machine with them, 64 x 64 and 32 x 32 where it does not.
#define PRODUCT(name, each, bf16)                                                                                      \
    extern "C" __global__ void __launch_bounds__(256)                                                                  \
        name(float *c, const float *a, const float *b, const float *bias, int init, int m, int n, int k,               \
             const u32 *runs, int run_count, int ai, int ap, int bp, int bj) {                                         \
        product<each, bf16>(c, a, b, bias, init, m, n, k, runs, run_count, ai, ap, bp, bj);                            \
    }
PRODUCT(gemm_128, 8, false)
PRODUCT(gemm_64, 4, false)
PRODUCT(gemm_32, 2, false)
PRODUCT(gemm_bf16_128, 8, true)
PRODUCT(gemm_bf16_64, 4, true)
PRODUCT(gemm_bf16_32, 2, true)
