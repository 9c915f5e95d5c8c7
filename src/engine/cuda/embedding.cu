// The embedding, as `plain/embedding.rs` has it: a row of a table for every token, and one for where it stands.

// x (n, c), tokens (n), positions (n), wte (V, c), wpe (context, c): a thread for each number of x.
extern "C" __global__ void embedding_forward(float *x, const u32 *tokens, const u32 *positions, const float *wte,
                                             const float *wpe, int n, int c) {
    i64 i = thread_number();
    if (i >= (i64)n * c) return;
    i64 row = i / c, column = i % c;
    x[i] = wte[(i64)tokens[row] * c + column] + wpe[(i64)positions[row] * c + column];
}

// table[index[t]] += dx[t] for t ascending. The rows of the batch are sorted by what they looked up, and stay in order
// for each: those of entry e are rows[starts[e]..starts[e + 1]], and its row of the table is ids[e]. A
// block for each entry.
extern "C" __global__ void embedding_backward(float *table, const float *dx, const u32 *ids, const u32 *starts,
                                              const u32 *rows, int c) {
    u32 entry = blockIdx.x;
    for (int i = threadIdx.x; i < c; i += blockDim.x) {
        float sum = table[(i64)ids[entry] * c + i];
        for (u32 t = starts[entry]; t < starts[entry + 1]; t++) sum = sum + dx[(i64)rows[t] * c + i];
        table[(i64)ids[entry] * c + i] = sum;
    }
}
