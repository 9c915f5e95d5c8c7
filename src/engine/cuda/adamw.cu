// AdamW's step and the average that follows it, as `plain/adamw.rs` has them: a thread an element. average may be none.
extern "C" __global__ void adamw(float *parameters, const float *gradients, float *first_moment, float *second_moment,
                                 float *average, float gradient_scale, float beta1, float rest1, float beta2,
                                 float rest2, float root_scale, float epsilon, float rate, float keep,
                                 float average_rest, i64 n) {
    i64 i = thread_number();
    if (i >= n) return;
    float p = parameters[i], g = gradient_scale * gradients[i];
    float m = __fmaf_rn(beta1, first_moment[i], rest1 * g);
    float v = __fmaf_rn(beta2, second_moment[i], rest2 * g * g);
    first_moment[i] = m, second_moment[i] = v;
    float denominator = __fmaf_rn(__fsqrt_rn(v), root_scale, epsilon);
    float moved = __fmaf_rn(-rate, m / denominator, keep * p);
    p = rate == 0.0f ? p : moved;
    parameters[i] = p;
    if (average) average[i] = __fmaf_rn(average_rest, p - average[i], average[i]);
}

// sum += part, n numbers.
extern "C" __global__ void add(float *sum, const float *part, i64 n) {
    i64 i = thread_number();
    if (i < n) sum[i] = sum[i] + part[i];
}
