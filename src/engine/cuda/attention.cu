// Causal self-attention inside each sequence, dense or banded, as `plain/attention.rs` has it. A softmax needs its maximum
// before its first exponential and its sum before its first probability; taking them as they come and rescaling would
// give other bits, so the scores are computed once for the maximum, once for the sum and once for the output, and no
// score is ever stored. Tiles of keys that no query of a block sees are skipped.
//
// Buffers are head-major within each sequence, (N; NH, HS): position t of head h of a sequence of T tokens that begins at
// row `offset` is row `offset NH + h T + t` of HS numbers. A block has 16 x 16 threads and a tile of SIDE positions of one
// head; tiles (number, 2) lists the sequence and the first position of each. Thread (ty, tx) has the tile's rows
// 4 ty .. 4 ty + 3 and the columns tx, tx + 16, tx + 32, tx + 48 of what it meets: so the columns of a thread are one lane
// of a row's sum.

#define SIDE 64
#define SLICE 16

// What a block works on.
struct Tile {
    // First row of the head, (T, HS).
    i64 head;
    // T, the tile's first position, its positions, and the first column of its output.
    int length, first, rows, column;
};

__device__ __forceinline__ Tile this_tile(const u32 *tiles, const u32 *offsets) {
    u32 sequence = tiles[2 * blockIdx.x];
    Tile tile;
    tile.first = (int)tiles[2 * blockIdx.x + 1];
    tile.length = (int)(offsets[sequence + 1] - offsets[sequence]);
    tile.head = (i64)offsets[sequence] * gridDim.y + (i64)blockIdx.y * tile.length;
    tile.rows = tile.length - tile.first < SIDE ? tile.length - tile.first : SIDE;
    tile.column = (int)blockIdx.z * SIDE;
    return tile;
}

// The first position that a query at t sees.
__device__ __forceinline__ int first_seen(int t, int window) { return t + 1 > window ? t + 1 - window : 0; }

// s[i][j] = chain over d of a[4 ty + i][d] b[tx + 16 j][d]; a (a_rows, hs), b (b_rows, hs). What lies beyond the rows is
// of no meaning.
__device__ __forceinline__ void chains(float s[4][4], const float *a, int a_rows, const float *b, int b_rows, int hs,
                                       float a_slice[SLICE][SIDE + 4], float b_slice[SLICE][SIDE + 4]) {
    int thread = threadIdx.x, tx = thread % 16, ty = thread / 16;
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) s[i][j] = 0.0f;
    for (int d0 = 0; d0 < hs; d0 += SLICE) {
        int depth = hs - d0 < SLICE ? hs - d0 : SLICE;
        __syncthreads();
#pragma unroll
        for (int u = 0; u < SIDE * SLICE / 256; u++) {
            int d = thread % SLICE, row = thread / SLICE + u * (256 / SLICE);
            a_slice[d][row] = d < depth && row < a_rows ? a[(i64)row * hs + d0 + d] : 0.0f;
            b_slice[d][row] = d < depth && row < b_rows ? b[(i64)row * hs + d0 + d] : 0.0f;
        }
        __syncthreads();
        for (int d = 0; d < depth; d++) {
            float x[4], y[4];
#pragma unroll
            for (int i = 0; i < 4; i++) x[i] = a_slice[d][4 * ty + i], y[i] = b_slice[d][tx + 16 * i];
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) s[i][j] = __fmaf_rn(x[i], y[j], s[i][j]);
        }
    }
}

// acc[i][j] += chain over the r that `takes(i, r)` of w[4 ty + i][r] x[r][column + tx + 16 j], r ascending; w is a tile in
// shared memory, x (x_rows, hs). A pair that is not seen takes no part: fma(0, x, -0) would be +0.
template <class Takes>
__device__ __forceinline__ void weighted_rows(float acc[4][4], const float w[SIDE][SIDE + 1], const float *x, int x_rows,
                                              int hs, int column, float x_slice[SLICE][SIDE + 4], Takes takes) {
    int thread = threadIdx.x, tx = thread % 16, ty = thread / 16;
    for (int r0 = 0; r0 < SIDE && r0 < x_rows; r0 += SLICE) {
        __syncthreads();
#pragma unroll
        for (int u = 0; u < SIDE * SLICE / 256; u++) {
            int d = thread % SIDE, r = thread / SIDE + u * (256 / SIDE);
            x_slice[r][d] = r0 + r < x_rows && column + d < hs ? x[(i64)(r0 + r) * hs + column + d] : 0.0f;
        }
        __syncthreads();
        // Unrolled further, attention_forward spills registers.
#pragma unroll 4
        for (int r = 0; r < SLICE; r++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (takes(i, r0 + r))
#pragma unroll
                    for (int j = 0; j < 4; j++)
                        acc[i][j] = __fmaf_rn(w[4 * ty + i][r0 + r], x_slice[r][tx + 16 * j], acc[i][j]);
    }
}

// Writes a tile's output, (rows, hs) from `column` on.
__device__ __forceinline__ void write_tile(float *x, const float acc[4][4], Tile tile, int hs) {
    int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int row = 4 * ty + i, column = tile.column + tx + 16 * j;
            if (row < tile.rows && column < hs) x[(tile.head + tile.first + row) * hs + column] = acc[i][j];
        }
}

// out = attention(q, k, v), stats (N; NH, 2) the maximum and 1/sum of each query's softmax. A block for a tile of queries.
extern "C" __global__ void __launch_bounds__(256)
    attention_forward(float *out, float *stats, const float *q, const float *k, const float *v, const u32 *tiles,
                      const u32 *offsets, int hs, int window, float scale) {
    __shared__ __align__(16) float a_slice[SLICE][SIDE + 4];
    __shared__ __align__(16) float b_slice[SLICE][SIDE + 4];
    __shared__ float p_tile[SIDE][SIDE + 1];
    Tile tile = this_tile(tiles, offsets);
    int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    const float *queries = q + (tile.head + tile.first) * hs;
    int start = first_seen(tile.first, window) / SIDE * SIDE, end = tile.first + tile.rows;
    int keys;
    float s[4][4];
    // The scores with the keys from s0 on; whether query 4 ty + i sees key s0 + r.
    auto scores = [&](int s0) {
        keys = end - s0 < SIDE ? end - s0 : SIDE;
        chains(s, queries, tile.rows, k + (tile.head + s0) * hs, keys, hs, a_slice, b_slice);
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) s[i][j] = s[i][j] * scale;
    };
    auto sees = [&](int i, int key) {
        int t = tile.first + 4 * ty + i;
        return 4 * ty + i < tile.rows && key <= t && key >= first_seen(t, window);
    };

    // 1. The maximum. Element number `key - first_seen` of a row is in lane `(key - first_seen) mod 16`: all that a
    // thread has are in one, and lane 0 is in thread `first_seen mod 16`.
    float m[4] = {-INFINITY_, -INFINITY_, -INFINITY_, -INFINITY_}, inverse[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int s0 = start; s0 < end; s0 += SIDE) {
        scores(s0);
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                if (sees(i, s0 + tx + 16 * j)) m[i] = greater(m[i], s[i][j]);
    }
#pragma unroll
    for (int i = 0; i < 4; i++) m[i] = lanes_max(m[i], first_seen(tile.first + 4 * ty + i, window) % LANES);

    // 2. The sum of the exponentials. Adding lanes by halves does not ask where lane 0 is.
    for (int s0 = start; s0 < end; s0 += SIDE) {
        scores(s0);
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                if (sees(i, s0 + tx + 16 * j)) inverse[i] = inverse[i] + exp_(s[i][j] - m[i]);
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        inverse[i] = 1.0f / halving_sum(inverse[i]);
        i64 row = tile.head + tile.first + 4 * ty + i;
        if (tx == 0 && tile.column == 0 && 4 * ty + i < tile.rows) stats[2 * row] = m[i], stats[2 * row + 1] = inverse[i];
    }

    // 3. The values, weighted.
    float acc[4][4] = {};
    for (int s0 = start; s0 < end; s0 += SIDE) {
        scores(s0);
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) p_tile[4 * ty + i][tx + 16 * j] = exp_(s[i][j] - m[i]) * inverse[i];
        weighted_rows(acc, p_tile, v + (tile.head + s0) * hs, keys, hs, tile.column, a_slice,
                      [&](int i, int r) { return sees(i, s0 + r); });
    }
    write_tile(out, acc, tile, hs);
}

// delta = dout . out of one row (HS), by the sixteen threads of a row: a chain in each lane that ends with a product of +0.
__device__ __forceinline__ float delta_of(const float *dout, const float *out, int hs, bool there) {
    float lane = 0.0f;
    for (int d = threadIdx.x % LANES; d < (hs / LANES + 1) * LANES; d += LANES) {
        bool in = there && d < hs;
        lane = __fmaf_rn(in ? dout[d] : 0.0f, in ? out[d] : 0.0f, lane);
    }
    return halving_sum(lane);
}

// dq[t] = chain over s of dscore k[s], dscore = p (dp - delta) scale, dp = dout . v[s]. A block for a tile of queries.
extern "C" __global__ void __launch_bounds__(256)
    attention_backward_queries(float *dq, const float *dout, const float *out, const float *stats, const float *q,
                               const float *k, const float *v, const u32 *tiles, const u32 *offsets, int hs, int window,
                               float scale) {
    __shared__ __align__(16) float a_slice[SLICE][SIDE + 4];
    __shared__ __align__(16) float b_slice[SLICE][SIDE + 4];
    __shared__ float dscore_tile[SIDE][SIDE + 1];
    Tile tile = this_tile(tiles, offsets);
    int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    i64 first_row = tile.head + tile.first;
    float m[4], inverse[4], delta[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        bool there = 4 * ty + i < tile.rows;
        i64 row = first_row + (there ? 4 * ty + i : 0);
        m[i] = stats[2 * row], inverse[i] = stats[2 * row + 1];
        delta[i] = delta_of(dout + row * hs, out + row * hs, hs, there);
    }
    float acc[4][4] = {};
    int end = tile.first + tile.rows;
    for (int s0 = first_seen(tile.first, window) / SIDE * SIDE; s0 < end; s0 += SIDE) {
        int keys = end - s0 < SIDE ? end - s0 : SIDE;
        float s[4][4], dp[4][4];
        chains(s, q + first_row * hs, tile.rows, k + (tile.head + s0) * hs, keys, hs, a_slice, b_slice);
        chains(dp, dout + first_row * hs, tile.rows, v + (tile.head + s0) * hs, keys, hs, a_slice, b_slice);
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                float p = exp_(s[i][j] * scale - m[i]) * inverse[i];
                dscore_tile[4 * ty + i][tx + 16 * j] = p * (dp[i][j] - delta[i]) * scale;
            }
        weighted_rows(acc, dscore_tile, k + (tile.head + s0) * hs, keys, hs, tile.column, a_slice, [&](int i, int r) {
            int t = tile.first + 4 * ty + i;
            return 4 * ty + i < tile.rows && s0 + r <= t && s0 + r >= first_seen(t, window);
        });
    }
    write_tile(dq, acc, tile, hs);
}

// dv[s] = chain over t of p[t][s] dout[t], dk[s] = chain over t of dscore q[t]. A block for a tile of keys.
extern "C" __global__ void __launch_bounds__(256)
    attention_backward_keys(float *dk, float *dv, const float *dout, const float *out, const float *stats, const float *q,
                            const float *k, const float *v, const u32 *tiles, const u32 *offsets, int hs, int window,
                            float scale) {
    __shared__ __align__(16) float a_slice[SLICE][SIDE + 4];
    __shared__ __align__(16) float b_slice[SLICE][SIDE + 4];
    __shared__ float weights[SIDE][SIDE + 1];
    __shared__ float m[SIDE], inverse[SIDE], delta[SIDE];
    Tile tile = this_tile(tiles, offsets);
    int thread = threadIdx.x, tx = thread % 16, ty = thread / 16;
    i64 first_row = tile.head + tile.first;
    float key_gradient[4][4] = {}, value_gradient[4][4] = {};
    // The last key's last reader, and one more.
    int seen_until = tile.first + tile.rows - 1 + window, end = seen_until < tile.length ? seen_until : tile.length;
    for (int t0 = tile.first; t0 < end; t0 += SIDE) {
        int queries = end - t0 < SIDE ? end - t0 : SIDE;
        i64 query_row = tile.head + t0;
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 4; i++) {
            bool there = 4 * ty + i < queries;
            i64 row = query_row + (there ? 4 * ty + i : 0);
            float d = delta_of(dout + row * hs, out + row * hs, hs, there);
            if (tx == 0) m[4 * ty + i] = stats[2 * row], inverse[4 * ty + i] = stats[2 * row + 1], delta[4 * ty + i] = d;
        }
        float s[4][4], dp[4][4];
        chains(s, k + first_row * hs, tile.rows, q + query_row * hs, queries, hs, a_slice, b_slice);
        chains(dp, v + first_row * hs, tile.rows, dout + query_row * hs, queries, hs, a_slice, b_slice);
        auto takes = [&](int i, int r) {
            int key = tile.first + 4 * ty + i, t = t0 + r;
            return 4 * ty + i < tile.rows && r < queries && key <= t && key >= first_seen(t, window);
        };
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                int r = tx + 16 * j;
                s[i][j] = exp_(s[i][j] * scale - m[r]) * inverse[r];
                dp[i][j] = s[i][j] * (dp[i][j] - delta[r]) * scale;
                weights[4 * ty + i][r] = s[i][j];
            }
        weighted_rows(value_gradient, weights, dout + query_row * hs, queries, hs, tile.column, a_slice, takes);
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) weights[4 * ty + i][tx + 16 * j] = dp[i][j];
        weighted_rows(key_gradient, weights, q + query_row * hs, queries, hs, tile.column, a_slice, takes);
    }
    write_tile(dk, key_gradient, tile, hs);
    write_tile(dv, value_gradient, tile, hs);
}

// heads (N; NH, HS) from token rows (n, width), columns from.. of them, or with `back` the other way: a thread an element.
// sequences (n) is each row's sequence.
extern "C" __global__ void attention_heads(float *heads, float *rows, int width, int from, int back, const u32 *sequences,
                                           const u32 *offsets, int n, int head_count, int hs) {
    i64 thread = thread_number();
    int c = head_count * hs;
    if (thread >= (i64)n * c) return;
    i64 row = thread / c;
    int column = (int)(thread % c), head = column / hs;
    u32 sequence = sequences[row];
    i64 first = offsets[sequence], length = offsets[sequence + 1] - offsets[sequence];
    i64 in_heads = (first * head_count + head * length + (row - first)) * hs + column % hs;
    i64 in_rows = row * width + from + column;
    if (back)
        rows[in_rows] = heads[in_heads];
    else
        heads[in_heads] = rows[in_rows];
}

// Decoding. Keys lie as (slots, NH, HS, capacity), so that threads which have a position each read side by side, values as
// (slots, NH, capacity, HS); both are one layer's.

// Stores keys and values of the rows of qkv (n, 3C): a thread an element of C. slots is each sequence's.
extern "C" __global__ void attention_append(float *keys, float *values, const float *qkv, const u32 *slots,
                                            const u32 *sequences, const u32 *positions, int n, int head_count, int hs,
                                            int capacity) {
    i64 thread = thread_number();
    int c = head_count * hs;
    if (thread >= (i64)n * c) return;
    i64 row = thread / c;
    int column = (int)(thread % c), head = column / hs, d = column % hs;
    i64 own = ((i64)slots[sequences[row]] * head_count + head) * hs * capacity;
    keys[own + (i64)d * capacity + positions[row]] = qkv[row * 3 * c + c + column];
    values[own + (i64)positions[row] * hs + d] = qkv[row * 3 * c + 2 * c + column];
}

// Scores that a block holds at a time. Of longer sequences they are computed again for each of the three equations.
#define HELD 1024

// out (N; NH, HS): each row attends over what its slot has. A block of 128 threads for a row and a head. Every half warp
// adds up the same lanes, so all threads know the maximum and the sum.
extern "C" __global__ void __launch_bounds__(128)
    attention_decode(float *out, const float *keys, const float *values, const float *qkv, const u32 *slots,
                     const u32 *sequences, const u32 *offsets, const u32 *positions, int head_count, int hs, int capacity,
                     int window, float scale) {
    __shared__ float held[HELD];
    i64 row = blockIdx.x;
    int head = blockIdx.y, thread = threadIdx.x, lane = thread % LANES, c = head_count * hs;
    u32 sequence = sequences[row];
    int t = (int)positions[row], first = first_seen(t, window), end = t + 1;
    i64 own = ((i64)slots[sequence] * head_count + head) * hs * capacity;
    keys += own, values += own;
    const float *q = qkv + row * 3 * c + head * hs;
    int in_memory = -1;
    auto scores = [&](int s0) {
        if (s0 == in_memory) return;
        in_memory = s0;
        __syncthreads();
        for (int s = s0 + thread; s < end && s < s0 + HELD; s += 128) {
            float sum = 0.0f;
            for (int d = 0; d < hs; d++) sum = __fmaf_rn(q[d], keys[(i64)d * capacity + s], sum);
            held[s - s0] = sum * scale;
        }
        __syncthreads();
    };
    auto held_from = [&](int s0) { return end - s0 < HELD ? end - s0 : HELD; };

    float m = -INFINITY_;
    for (int s0 = first; s0 < end; s0 += HELD) {
        scores(s0);
        for (int i = lane; i < held_from(s0); i += LANES) m = greater(m, held[i]);
    }
    m = lanes_max(m, 0);
    float sum = 0.0f;
    for (int s0 = first; s0 < end; s0 += HELD) {
        scores(s0);
        for (int i = lane; i < held_from(s0); i += LANES) sum = sum + exp_(held[i] - m);
    }
    float inverse = 1.0f / halving_sum(sum);

    i64 offset = offsets[sequence], length = offsets[sequence + 1] - offset;
    out += (offset * head_count + head * length + (row - offset)) * hs;
    for (int d0 = 0; d0 < hs; d0 += 128) {
        int d = d0 + thread;
        float acc = 0.0f;
        for (int s0 = first; s0 < end; s0 += HELD) {
            scores(s0);
            __syncthreads();
            for (int i = thread; i < held_from(s0); i += 128) held[i] = exp_(held[i] - m) * inverse;
            __syncthreads();
            // These are no scores any more.
            in_memory = -1;
            if (d < hs)
                for (int i = 0; i < held_from(s0); i++)
                    acc = __fmaf_rn(held[i], values[(i64)(s0 + i) * hs + d], acc);
        }
        if (d < hs) out[d] = acc;
    }
}
