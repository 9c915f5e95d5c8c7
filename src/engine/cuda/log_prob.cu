// The language-model head, as `plain/log_prob.rs` has it: from logits to log-probs, entropies and the logits' gradient;
// and the draw of the next token, as `model/sampling.rs` has it. Sixteen threads own a row of V logits. The two products
// around it are gemm.cu's.

// chosen[t] = x[rows[t]]; x (N, c), chosen (targets, c).
extern "C" __global__ void gather_rows(float *chosen, const float *x, const u32 *rows, int targets, int c) {
    i64 i = thread_number();
    if (i < (i64)targets * c) chosen[i] = x[(i64)rows[i / c] * c + i % c];
}

// x[rows[t]] += part[t] for t ascending; rows ascend, and one may come more than once: its first target's thread adds
// them all.
extern "C" __global__ void scatter_rows(float *x, const float *part, const u32 *rows, int targets, int c) {
    i64 thread = thread_number(), t = thread / c;
    int i = (int)(thread % c);
    if (t >= targets || (t > 0 && rows[t - 1] == rows[t])) return;
    i64 at = (i64)rows[t] * c + i;
    float sum = x[at];
    for (i64 same = t; same < targets && rows[same] == rows[t]; same++) sum = sum + part[same * c + i];
    x[at] = sum;
}

// Of a softmax: the maximum, ln(sum), the entropy and 1/sum.
struct Softmax {
    float max, log_sum, entropy, inverse;
};

// Divides a row of logits by the temperature, in place, and says what its softmax is.
__device__ __forceinline__ Softmax softmax(float *logits, int vocab, float temperature, int lane) {
    float greatest = -INFINITY_;
    for (int v = lane; v < vocab; v += LANES) {
        if (temperature != 1.0f) logits[v] = logits[v] / temperature;
        greatest = greater(greatest, logits[v]);
    }
    Softmax s;
    s.max = lanes_max(greatest, 0);
    float sum = 0.0f, weighted = 0.0f;
    for (int v = lane; v < vocab; v += LANES) {
        float shifted = logits[v] - s.max, e = exp_(shifted);
        sum = sum + e;
        weighted = __fmaf_rn(e, e > 0.0f ? shifted : 0.0f, weighted);
    }
    sum = halving_sum(sum);
    weighted = halving_sum(weighted);
    s.inverse = 1.0f / sum;
    s.log_sum = ln_(sum);
    s.entropy = s.log_sum - weighted * s.inverse;
    return s;
}

// log_probs, entropies (targets) of logits (targets, vocab). With slopes (targets), the logits become their gradient:
// slope (1[v = token] - p[v]) / temperature.
extern "C" __global__ void log_prob(float *log_probs, float *entropies, float *logits, const u32 *tokens,
                                    const float *slopes, float temperature, int targets, int vocab) {
    i64 t = thread_number() / LANES;
    int lane = threadIdx.x % LANES;
    if (t >= targets) return;
    logits += t * vocab;
    Softmax s = softmax(logits, vocab, temperature, lane);
    // The token's logit is another thread's; the shuffles of the sums stand between its division and this.
    u32 token = tokens[t];
    __syncwarp(row_mask());
    if (lane == 0) log_probs[t] = (logits[token] - s.max) - s.log_sum, entropies[t] = s.entropy;
    __syncwarp(row_mask());
    if (!slopes) return;
    float slope = slopes[t] / temperature;
    for (int v = lane; v < vocab; v += LANES) {
        float p = exp_(logits[v] - s.max) * s.inverse * -slope;
        logits[v] = v == (int)token ? p + slope : p;
    }
}

// Draws a token for each row: the most probable one (the first of equals), or the one at which the cumulative
// distribution, added in token order in f64, passes uniforms[t] of its total. All threads of a row add the same numbers.
extern "C" __global__ void sample(u32 *tokens, float *log_probs, float *entropies, float *logits, const float *uniforms,
                                  float temperature, int greedy, int rows, int vocab) {
    i64 t = thread_number() / LANES;
    int lane = threadIdx.x % LANES;
    if (t >= rows) return;
    logits += t * vocab;
    Softmax s = softmax(logits, vocab, temperature, lane);
    u32 mask = row_mask();
    __syncwarp(mask);
    int token = 0;
    if (greedy) {
        float best = -1.0f;
        int at = vocab;
        for (int v = lane; v < vocab; v += LANES) {
            float p = exp_(logits[v] - s.max) * s.inverse;
            if (p > best) best = p, at = v;
        }
        for (int half = 8; half > 0; half /= 2) {
            float other = __shfl_xor_sync(mask, best, half);
            int where = __shfl_xor_sync(mask, at, half);
            if (other > best || (other == best && where < at)) best = other, at = where;
        }
        token = at < vocab ? at : 0;
    } else {
        double total = 0.0, cumulative = 0.0;
        for (int first = 0; first < vocab; first += LANES) {
            float own = first + lane < vocab ? exp_(logits[first + lane] - s.max) * s.inverse : 0.0f;
            for (int l = 0; l < LANES; l++) {
                float p = __shfl_sync(mask, own, l, LANES);
                if (first + l < vocab) total = total + (double)p;
            }
        }
        double threshold = (double)uniforms[t] * total;
        bool passed = false;
        for (int first = 0; first < vocab && !passed; first += LANES) {
            float own = first + lane < vocab ? exp_(logits[first + lane] - s.max) * s.inverse : 0.0f;
            for (int l = 0; l < LANES; l++) {
                float p = __shfl_sync(mask, own, l, LANES);
                if (passed || !(p > 0.0f)) continue;
                cumulative = cumulative + (double)p;
                token = first + l;
                passed = cumulative > threshold;
            }
        }
    }
    if (lane == 0) {
        tokens[t] = (u32)token;
        log_probs[t] = (logits[token] - s.max) - s.log_sum;
        entropies[t] = s.entropy;
    }
}
