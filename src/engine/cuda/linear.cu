// What a linear layer has beside its three products (see gemm.cu): the gradient of its bias.

// db[o] += sum of dy[t][o] over t ascending; dy (n, outputs): a thread an output.
extern "C" __global__ void linear_bias(float *dbias, const float *dy, int n, int outputs) {
    int o = (int)thread_number();
    if (o >= outputs) return;
    float sum = dbias[o];
    for (i64 t = 0; t < n; t++) sum = sum + dy[t * outputs + o];
    dbias[o] = sum;
}
