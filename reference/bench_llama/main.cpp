// llama.cpp, measured on the generation cases of `instructgpt bench`:
//
//     bench_llama MODEL.gguf SEQUENCES PROMPT NEW THREADS
//
// The protocol is that of `bench_torch.py --serve`: one JSON line with the unit when all is ready, then a sample for each
// line on standard input. Sequences are decoded together, each sampled from the full distribution by llama.cpp's own
// sampler; keys and values are f32, too. `bench_llama.py` makes the model and starts this.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "llama.h"

static void require(bool holds, const char * what) {
    if (!holds) {
        fprintf(stderr, "bench_llama: %s\n", what);
        exit(1);
    }
}

int main(int argc, char ** argv) {
    require(argc == 6, "expected MODEL.gguf SEQUENCES PROMPT NEW THREADS");
    const int sequences = atoi(argv[2]), prompt = atoi(argv[3]), fresh = atoi(argv[4]), threads = atoi(argv[5]);
    llama_log_set([](ggml_log_level level, const char * text, void *) {
        if (level >= GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
    }, nullptr);

    llama_model * model = llama_model_load_from_file(argv[1], llama_model_default_params());
    require(model, "the model cannot be read");
    llama_context_params params = llama_context_default_params();
    // Each sequence has a part of its own of the cache, as llama.h advises for prompts that share nothing.
    params.kv_unified = false;
    params.n_seq_max = sequences;
    params.n_ctx = sequences * (prompt + fresh);
    params.n_batch = params.n_ubatch = sequences * prompt;
    params.n_threads = params.n_threads_batch = threads;
    params.type_k = params.type_v = GGML_TYPE_F32;
    llama_context * context = llama_init_from_model(model, params);
    require(context, "no context");

    std::mt19937 random(1);
    const int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
    std::vector<llama_token> prompts(sequences * prompt);
    for (llama_token & token : prompts) token = random() % vocabulary;
    std::vector<llama_sampler *> samplers;
    for (int s = 0; s < sequences; s++) samplers.push_back(llama_sampler_init_dist(s));
    llama_batch batch = llama_batch_init(sequences * prompt, 0, 1);
    auto add = [&](llama_token token, int position, int sequence, bool wanted) {
        const int i = batch.n_tokens++;
        batch.token[i] = token;
        batch.pos[i] = position;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = sequence;
        batch.logits[i] = wanted;
        return i;
    };

    auto sample = [&] {
        const auto start = std::chrono::steady_clock::now();
        llama_memory_clear(llama_get_memory(context), true);
        std::vector<int> last(sequences);
        batch.n_tokens = 0;
        for (int s = 0; s < sequences; s++)
            for (int t = 0; t < prompt; t++) last[s] = add(prompts[s * prompt + t], t, s, t + 1 == prompt);
        for (int n = 0; n < fresh; n++) {
            require(llama_decode(context, batch) == 0, "decoding failed");
            batch.n_tokens = 0;
            for (int s = 0; s < sequences; s++) {
                const llama_token token = llama_sampler_sample(samplers[s], context, last[s]);
                last[s] = add(token, prompt + n, s, true);
            }
        }
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };

    sample();
    printf("{\"unit\": \"tokens/s\"}\n");
    fflush(stdout);
    for (std::string line; std::getline(std::cin, line);) {
        printf("%f\n", sequences * fresh / sample());
        fflush(stdout);
    }
    llama_batch_free(batch);
    for (llama_sampler * sampler : samplers) llama_sampler_free(sampler);
    llama_free(context);
    llama_model_free(model);
}
