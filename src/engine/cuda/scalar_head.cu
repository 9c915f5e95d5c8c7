// One number for each target: y = hidden . w, as `plain/scalar_head.rs` has it. rows (targets) are rows of hidden (N, c),
// ascending; a row may come more than once.

// values[t] = the chain over c of hidden[rows[t]] w: a thread a target.
extern "C" __global__ void scalar_head_forward(float *values, const float *hidden, const float *w, const u32 *rows,
                                               int targets, int c) {
    i64 t = thread_number();
    if (t >= targets) return;
    hidden += (i64)rows[t] * c;
    float sum = 0.0f;
    for (int i = 0; i < c; i++) sum = __fmaf_rn(hidden[i], w[i], sum);
    values[t] = sum;
}

// dhidden[rows[t]] += slopes[t] w, target by target: a thread for a column of a target, which goes on through the targets
// of the same row; the others of them have nothing to do.
extern "C" __global__ void scalar_head_backward(float *dhidden, const float *slopes, const float *w, const u32 *rows,
                                                int targets, int c) {
    i64 thread = thread_number(), t = thread / c;
    int i = (int)(thread % c);
    if (t >= targets || (t > 0 && rows[t - 1] == rows[t])) return;
    i64 at = (i64)rows[t] * c + i;
    float sum = dhidden[at];
    for (i64 same = t; same < targets && rows[same] == rows[t]; same++) sum = __fmaf_rn(slopes[same], w[i], sum);
    dhidden[at] = sum;
}

// dw += slopes[t] hidden[rows[t]] over the targets in order: a thread a column.
extern "C" __global__ void scalar_head_weight(float *dw, const float *slopes, const float *hidden, const u32 *rows,
                                              int targets, int c) {
    int i = (int)thread_number();
    if (i >= c) return;
    float sum = dw[i];
    for (int t = 0; t < targets; t++) sum = __fmaf_rn(slopes[t], hidden[(i64)rows[t] * c + i], sum);
    dw[i] = sum;
}
