// Matrix products on tensor cores, for the precisions "tf32" and "bf16-fast": operands rounded to tf32 (ten bits of
// fraction) or to bf16, sums in f32 in an order that is the hardware's. The same from run to run, and other bits than the
// definition's: `gemm.cu` has those.
//
// A block of eight warps makes a tile of C, 2 x 4 warps of fragments of 16 x 8. Operands pass through shared memory as
// words: a number for tf32, a pair of neighbours in k for bf16. In words the fragments of `mma.m16n8k8` (tf32) and of
// `mma.m16n8k16` (bf16) are the same: eight words deep.

#ifdef __CUDA_ARCH__
__device__ __forceinline__ void mma_tf32(float d[4], const u32 a[4], const u32 b[2]) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma_bf16(float d[4], const u32 a[4], const u32 b[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

// x rounded to tf32, to nearest and ties away from zero, as `cvt.rna.tf32` has it. An infinity stays one.
__device__ __forceinline__ u32 tf32_round(float x) { return ((u32)__float_as_int(x) + 0x1000u) & 0xffffe000u; }

// Words of a slice of k.
#define WORDS 16

// c (m, n) = init + A B, as `product` in gemm.cu; k beyond its end is zero here.
template <int FRAGMENTS, bool BF16>
__device__ __forceinline__ void fast_product(float *c, const float *a, const float *b, const float *bias, int init, int m,
                                             int n, int k, int ai, int ap, int bp, int bj) {
    // A warp has FRAGMENTS fragments down and as many across.
    const int TILE = 32 * FRAGMENTS, LOADS = TILE * WORDS / 256, NUMBERS = BF16 ? 2 : 1;
    __shared__ u32 a_slice[2][WORDS][TILE + 8];
    __shared__ u32 b_slice[2][WORDS][TILE + 8];
    int thread = threadIdx.x, warp = thread / 32, lane = thread % 32, group = lane / 4, within = lane % 4;
    int row0 = blockIdx.y * TILE, column0 = blockIdx.x * TILE;
    int warp_row = warp / 4 * (16 * FRAGMENTS), warp_column = warp % 4 * (8 * FRAGMENTS);
    // The row and column of a fragment's number r, in the tile.
    auto row_of = [&](int i, int r) { return warp_row + 16 * i + group + 8 * (r / 2); };
    auto column_of = [&](int j, int r) { return warp_column + 8 * j + 2 * within + r % 2; };

    float acc[FRAGMENTS][FRAGMENTS][4];
#pragma unroll
    for (int i = 0; i < FRAGMENTS; i++)
#pragma unroll
        for (int j = 0; j < FRAGMENTS; j++)
#pragma unroll
            for (int r = 0; r < 4; r++) {
                int row = row0 + row_of(i, r), column = column0 + column_of(j, r);
                acc[i][j][r] = 0.0f;
                if (init != ZERO && row < m && column < n)
                    acc[i][j][r] = init == BIAS ? bias[column] : c[(i64)row * n + column];
            }

    u32 a_next[LOADS], b_next[LOADS];
    auto word = [&](const float *x, i64 at, int stride, int p, bool there) -> u32 {
        float first = there && p < k ? x[at] : 0.0f;
        if (!BF16) return tf32_round(first);
        float second = there && p + 1 < k ? x[at + stride] : 0.0f;
        return (u32)__float_as_int(bf16_round(first)) >> 16 | (u32)__float_as_int(bf16_round(second));
    };
    auto fetch = [&](int p0) {
#pragma unroll
        for (int u = 0; u < LOADS; u++) {
            int e = thread + u * 256;
            int w = ap == 1 ? e % WORDS : e / TILE, row = row0 + (ap == 1 ? e / WORDS : e % TILE), p = p0 + NUMBERS * w;
            a_next[u] = word(a, (i64)row * ai + (i64)p * ap, ap, p, row < m);
            w = bj == 1 ? e / TILE : e % WORDS, p = p0 + NUMBERS * w;
            int column = column0 + (bj == 1 ? e % TILE : e / WORDS);
            b_next[u] = word(b, (i64)p * bp + (i64)column * bj, bp, p, column < n);
        }
    };
    auto store = [&](int half) {
#pragma unroll
        for (int u = 0; u < LOADS; u++) {
            int e = thread + u * 256;
            a_slice[half][ap == 1 ? e % WORDS : e / TILE][ap == 1 ? e / WORDS : e % TILE] = a_next[u];
            b_slice[half][bj == 1 ? e / TILE : e % WORDS][bj == 1 ? e % TILE : e / WORDS] = b_next[u];
        }
    };

    const int DEEP = WORDS * NUMBERS;
    if (k > 0) fetch(0), store(0);
    __syncthreads();
    for (int p0 = 0, half = 0; p0 < k; p0 += DEEP, half ^= 1) {
        if (p0 + DEEP < k) fetch(p0 + DEEP);
#pragma unroll
        for (int w = 0; w < WORDS; w += 8) {
            u32 x[FRAGMENTS][4], y[FRAGMENTS][2];
#pragma unroll
            for (int i = 0; i < FRAGMENTS; i++)
#pragma unroll
                for (int r = 0; r < 4; r++)
                    x[i][r] = a_slice[half][w + within + 4 * (r / 2)][warp_row + 16 * i + group + 8 * (r % 2)];
#pragma unroll
            for (int j = 0; j < FRAGMENTS; j++)
#pragma unroll
                for (int r = 0; r < 2; r++) y[j][r] = b_slice[half][w + within + 4 * r][warp_column + 8 * j + group];
#pragma unroll
            for (int i = 0; i < FRAGMENTS; i++)
#pragma unroll
                for (int j = 0; j < FRAGMENTS; j++)
                    if (BF16)
                        mma_bf16(acc[i][j], x[i], y[j]);
                    else
                        mma_tf32(acc[i][j], x[i], y[j]);
        }
        if (p0 + DEEP < k) store(half ^ 1);
        __syncthreads();
    }

#pragma unroll
    for (int i = 0; i < FRAGMENTS; i++)
#pragma unroll
        for (int j = 0; j < FRAGMENTS; j++)
#pragma unroll
            for (int r = 0; r < 4; r++) {
                int row = row0 + row_of(i, r), column = column0 + column_of(j, r);
                if (row < m && column < n) c[(i64)row * n + column] = acc[i][j][r];
            }
}

// The same arguments as gemm.cu's, of which the runs are not asked for.
#define FAST_PRODUCT(name, fragments, bf16)                                                                            \
    extern "C" __global__ void __launch_bounds__(256)                                                                  \
        name(float *c, const float *a, const float *b, const float *bias, int init, int m, int n, int k,               \
             const u32 *runs, int run_count, int ai, int ap, int bp, int bj) {                                         \
        fast_product<fragments, bf16>(c, a, b, bias, init, m, n, k, ai, ap, bp, bj);                                   \
    }
FAST_PRODUCT(gemm_tf32_128, 4, false)
FAST_PRODUCT(gemm_tf32_64, 2, false)
FAST_PRODUCT(gemm_fast_bf16_128, 4, true)
FAST_PRODUCT(gemm_fast_bf16_64, 2, true)
