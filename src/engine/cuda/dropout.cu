// The residual addition with dropout, as `plain/dropout.rs` has it. A mask bit is a word of the ChaCha8 keystream at the
// row's address (`num/rng.rs`): column i is word i, so sixteen columns are a block of the cipher, and a thread's work.

#define QUARTER(a, b, c, d)                                                                                            \
    a += b, d ^= a, d = d << 16 | d >> 16, c += d, b ^= c, b = b << 12 | b >> 20;                                      \
    a += b, d ^= a, d = d << 8 | d >> 24, c += d, b ^= c, b = b << 7 | b >> 25;

// The block with number `block` of the stream at a key (8 words) and a stream number.
__device__ __forceinline__ void chacha8(u32 out[16], const u32 key[8], u64 block, u64 stream) {
    u32 state[16] = {0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u};
#pragma unroll
    for (int i = 0; i < 8; i++) state[4 + i] = key[i];
    state[12] = (u32)block, state[13] = (u32)(block >> 32), state[14] = (u32)stream, state[15] = (u32)(stream >> 32);
#pragma unroll
    for (int i = 0; i < 16; i++) out[i] = state[i];
#pragma unroll
    for (int round = 0; round < 4; round++) {
        QUARTER(out[0], out[4], out[8], out[12])
        QUARTER(out[1], out[5], out[9], out[13])
        QUARTER(out[2], out[6], out[10], out[14])
        QUARTER(out[3], out[7], out[11], out[15])
        QUARTER(out[0], out[5], out[10], out[15])
        QUARTER(out[1], out[6], out[11], out[12])
        QUARTER(out[2], out[7], out[8], out[13])
        QUARTER(out[3], out[4], out[9], out[14])
    }
#pragma unroll
    for (int i = 0; i < 16; i++) out[i] += state[i];
}

// y = x + mask branch / (1 - rate), or without x: dbranch = mask dy / (1 - rate). All (n, c); without `masked` the branch
// as it is. numbers (n, 2) are the rows' sequences, low word first, and positions (n) their places in them.
extern "C" __global__ void dropout(float *y, const float *x, const float *branch, int masked, u32 drop_below,
                                   float scale, u64 seed, u32 stage, u32 purpose, u64 step, u32 site,
                                   const u32 *numbers, const u32 *positions, int n, int c) {
    int blocks = (c + 15) / 16;
    i64 thread = thread_number();
    if (thread >= (i64)n * blocks) return;
    i64 row = thread / blocks;
    int block = (int)(thread % blocks);
    u32 words[16];
    if (masked) {
        u32 key[8] = {(u32)seed, (u32)(seed >> 32), stage, purpose, (u32)step, (u32)(step >> 32), numbers[2 * row],
                      numbers[2 * row + 1]};
        chacha8(words, key, (u64)block, (u64)positions[row] | (u64)site << 32);
    }
#pragma unroll
    for (int w = 0; w < 16; w++) {
        int column = 16 * block + w;
        if (column >= c) break;
        i64 i = row * c + column;
        float kept = branch[i];
        if (masked) kept = words[w] < drop_below ? 0.0f : kept * scale;
        y[i] = x ? x[i] + kept : kept;
    }
}
