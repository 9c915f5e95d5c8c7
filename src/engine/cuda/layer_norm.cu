// Layer norm, as `plain/layer_norm.rs` has it: y = x_hat * gamma + beta, x_hat = (x - mean) r. Sixteen threads a row.

// y (n, c), stats (n, 2), x (n, c), gamma, beta (c).
extern "C" __global__ void layer_norm_forward(float *y, float *stats, const float *x, const float *gamma,
                                              const float *beta, float epsilon, int n, int c) {
    i64 row = thread_number() / LANES;
    int lane = threadIdx.x % LANES;
    if (row >= n) return;
    x += row * c, y += row * c;
    float sum = 0.0f;
    for (int i = lane; i < c; i += LANES) sum = sum + x[i];
    float mean = halving_sum(sum) / (float)c;
    float squares = 0.0f;
    for (int i = lane; i < c; i += LANES) squares = squares + (x[i] - mean) * (x[i] - mean);
    float variance = halving_sum(squares) / (float)c;
    float r = 1.0f / __fsqrt_rn(variance + epsilon);
    for (int i = lane; i < c; i += LANES) y[i] = __fmaf_rn((x[i] - mean) * r, gamma[i], beta[i]);
    if (lane == 0) stats[2 * row] = mean, stats[2 * row + 1] = r;
}

// dx += r (g - mean(g) - x_hat mean(g x_hat)), g = dy gamma; dx, dy, x (n, c).
extern "C" __global__ void layer_norm_backward(float *dx, const float *dy, const float *x, const float *stats,
                                               const float *gamma, int n, int c) {
    i64 row = thread_number() / LANES;
    int lane = threadIdx.x % LANES;
    if (row >= n) return;
    dx += row * c, dy += row * c, x += row * c;
    float mean = stats[2 * row], r = stats[2 * row + 1];
    float sum_g = 0.0f, sum_gx = 0.0f;
    for (int i = lane; i < c; i += LANES) {
        float g = dy[i] * gamma[i];
        sum_g = sum_g + g;
        sum_gx = __fmaf_rn(g, (x[i] - mean) * r, sum_gx);
    }
    float mean_g = halving_sum(sum_g) / (float)c, mean_gx = halving_sum(sum_gx) / (float)c;
    for (int i = lane; i < c; i += LANES) {
        float g = dy[i] * gamma[i], x_hat = (x[i] - mean) * r;
        dx[i] = __fmaf_rn(r, __fmaf_rn(-x_hat, mean_gx, g - mean_g), dx[i]);
    }
}

// dgamma += sum over rows of dy x_hat, dbeta += sum over rows of dy, in row order: a thread a column.
extern "C" __global__ void layer_norm_parameters(float *dgamma, float *dbeta, const float *dy, const float *x,
                                                 const float *stats, int n, int c) {
    int i = (int)thread_number();
    if (i >= c) return;
    float gamma = dgamma[i], beta = dbeta[i];
    for (i64 t = 0; t < n; t++) {
        float slope = dy[t * c + i];
        gamma = __fmaf_rn(slope, (x[t * c + i] - stats[2 * t]) * stats[2 * t + 1], gamma);
        beta = beta + slope;
    }
    dgamma[i] = gamma, dbeta[i] = beta;
}
