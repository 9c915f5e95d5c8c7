"""The cases of levels M, G, S, I and T: whole models, steps, an iteration, the tokenizer."""

import numpy as np

from cases_f import ADAM_ASKS, ADAM_FORMS, ADAM_SOURCES, OFFSETS, Case, Value, adam_settings, one, tensors

GPT2 = "Radford et al. 2019 (GPT-2)"
PARAMETERS = ("transformer.", "lm_head.", "score.")
LOSS = "minus the mean ln p over every next token inside its sequence"


def cases(fixtures):
    return [*models(fixtures), *sft(fixtures), *reward_model(fixtures), *adam(fixtures), *iteration(fixtures), *tokenizer(fixtures)]


def parameters(fixtures, file, prefix=""):
    """The network whose names begin with `prefix`, as inputs."""
    names = [name for name in fixtures.names(file, prefix) if name.removeprefix(prefix).startswith(PARAMETERS)]
    return {name: one(file, name, "a parameter, with its name at Hugging Face") for name in names}


def gradients(fixtures, file, prefix="grad."):
    return {name: one(file, name, "d loss / d parameter") for name in fixtures.names(file, prefix)}


def after(fixtures, file, prefix, rate):
    """Weights after Adam. Without `c_attn.bias`: the gradient of its key biases is 0, and Adam turns the rounding noise that
    an implementation finds there into full steps.
    """
    names = [name for name in fixtures.names(file, prefix) if not name.endswith("c_attn.bias")]
    return {name: Value("a weight after the steps", f"{file}.safetensors", name, step=rate) for name in names}


def models(fixtures):
    for name, what in [("dense", "GPT-2 with tanh GELU and a tied head"),
                       ("banded", "GPT-2 with erf GELU, a head of its own, and a window in odd layers (attention_window; layers from 0)"),
                       ("bf16", "GPT-2 whose products with weight matrices round both operands to bfloat16, sums in float32; "
                        "the backward rounds the incoming gradient and the other operand too, but not for the bias's gradient"),
                       ("gpt_neo", "GPT-Neo: weights lie (outputs, inputs), queries, keys and values have no bias, scores are not "
                        "divided by the root of the head size, and local layers see the last window_size tokens, their own included")]:
        file = name if name == "gpt_neo" else f"transformer_{name}"
        inputs = {**parameters(fixtures, file), **tensors(file, tokens="packed", offsets=OFFSETS)}
        settings = {"config": fixtures.config(file), "precision": "bf16" if name == "bf16" else "f32"}
        source = {"banded": f"{GPT2}; Brown et al. 2020, section 2.1 (the band)",
                  "gpt_neo": "Black et al. 2021 (GPT-Neo), as transformers has it"}.get(name, GPT2)
        yield Case(
            f"M/{name}", "language_model", f"{what}: hidden states after the final layer norm, logits, ln p of every next token "
            "inside its sequence, and minus the mean of these", source, inputs,
            tensors(file, hidden="(N, C)", logits="(N, V)", log_probs="(N - B)", loss=LOSS), settings)
        yield Case(f"G/{name}", "language_model_gradients", f"{what}: the gradient of the loss ({LOSS}) in every parameter", source,
                   inputs, gradients(fixtures, file), settings)


def sft(fixtures):
    inputs = {**parameters(fixtures, "sft"), **tensors(
        "sft", tokens="prompt and response, packed", offsets=OFFSETS, prompt_lengths="tokens of each prompt")}
    settings = {"config": fixtures.config("sft")}
    yield Case(
        "S/sft/step", "sft", "loss = minus the mean ln p of all response tokens of the batch (not a mean of means); its gradient in "
        "every parameter", "Ouyang et al. 2022, section 3.5", inputs,
        {**tensors("sft", response_tokens="of the batch", loss="in nats"), **gradients(fixtures, "sft")}, settings)
    yield Case("S/sft/log_probs", "sft_log_probs", "ln p of each response token", "Ouyang et al. 2022, section 3.5", inputs,
               tensors("sft", response_log_probs="packed"), settings)


def reward_model(fixtures):
    file = "reward"
    settings = {"config": fixtures.config(file)}
    network = parameters(fixtures, file)
    yield Case(
        "S/reward/step", "reward_model", "the reward is score.weight . (the hidden state after the final layer norm) at the last token; "
        "the loss is that of F/reward_loss; its gradient in every parameter", "Ouyang et al. 2022, equation 1",
        {**network, **tensors(file, tokens="prompt and response, packed", offsets=OFFSETS, ranks="1 is best; equal ranks are ties",
                              group_offsets="where each prompt's responses begin, and the end of the last")},
        {**tensors(file, rewards="of each response", loss="the loss", pair_counts="untied pairs of each prompt"),
         **gradients(fixtures, file)}, settings)
    yield Case(
        "S/reward/demonstration_mean", "reward_model_demonstration_mean",
        "rewards of the demonstrations; then, with the final layer norm's bias moved by -mean * w / (w . w) (w = score.weight), those "
        "of the demonstrations and of the responses", "Ouyang et al. 2022, section 3.5",
        {**network, **tensors(file, tokens="responses, packed", offsets=OFFSETS, demonstrations__tokens="packed",
                              demonstrations__offsets=OFFSETS)},
        tensors(file, demonstrations__rewards="before", folded__transformer__ln_f__bias="the bias after",
                folded__demonstrations__rewards="after", folded__rewards="of the responses, after"), settings)


def adam(fixtures):
    for run, form in ADAM_FORMS.items():
        rate = float(fixtures.array("adamw", "learning_rates").max())
        yield Case(
            f"S/adam/{run}", "adam_of_a_model", "ten steps on the next-token loss of one batch. " + ADAM_ASKS.format("w"),
            ADAM_SOURCES[form],
            {**parameters(fixtures, "adamw"), **tensors("adamw", tokens="packed", offsets=OFFSETS, learning_rates="lr of each step")},
            {"losses": one("adamw", f"{run}.losses", "the loss before each step"),
             **{name.removeprefix(run + "."): value for name, value in after(fixtures, "adamw", f"{run}.after.", rate).items()}},
            {"config": fixtures.config("adamw"), **adam_settings(fixtures, run)})


def iteration(fixtures):
    file = "ppo_iteration"
    inputs = tensors(file, tokens="prompt and response, packed", offsets=OFFSETS, prompt_lengths="tokens of each prompt",
                     response_offsets="where each response begins in packed arrays of response tokens",
                     minibatch__0__episodes="of the first minibatch", minibatch__1__episodes="of the second")
    inputs |= {name: one(file, name, "a setting") for name in fixtures.names(file, "settings.")}
    inputs |= {name: one(file, name, "pretraining text") for k in (0, 1) for name in
               (f"minibatch.{k}.ptx.tokens", f"minibatch.{k}.ptx.offsets")}
    for network in ("policy.", "reference.", "reward_model.", "value."):
        inputs |= parameters(fixtures, file, network)
    settings = {"config": fixtures.config(file)}
    source = "Ouyang et al. 2022, section 3.5 and equation 2; lm-human-preferences train_policy.py"

    def case(name, asks, outputs):
        return Case(f"I/ppo/{name}", "ppo_iteration", asks, source, inputs, outputs, settings)

    yield case(
        "rollout", "before any update: log-probs of the response tokens (logits / temperature) of policy and reference, values at the "
        "position before each, the reward model's scores, then F/kl_rewards and F/gae",
        tensors(file, "rollout.", log_probs="the policy's", reference_log_probs="the reference's", values="before each token",
                scores="of each episode", rewards="with the KL penalty", advantages="not whitened", returns="advantages + values"))
    for k in (0, 1):
        yield case(
            f"minibatch-{k}", f"minibatch {k} (episodes in the order given): advantages whitened over it (population variance), log-probs "
            "and values of the networks as they are then, the losses, and the mean next-token loss of the pretraining text (no temperature)"
            + ("" if k == 0 else "; after one AdamW step for each network on minibatch 0"),
            tensors(file, f"minibatch.{k}.", advantages="whitened", log_probs="before this step", values="before this step",
                    policy_loss="clipped", clip_fraction="a share", value_loss="clipped", ptx__loss="before its coefficient"))
    yield case("gradients", "the gradients of minibatch 0: of policy_loss + ptx_coefficient * ptx loss, and of value_loss",
               {name: one(file, name, "d loss / d parameter") for kind in ("policy", "value")
                for name in fixtures.names(file, f"minibatch.0.{kind}_grad.")})
    outputs = {}
    for network, rate in [("policy", "learning_rate"), ("value", "value_learning_rate"), ("ema", "learning_rate")]:
        outputs |= after(fixtures, file, f"{network}_after.", float(fixtures.array(file, f"settings.{rate}")))
    yield case("after", "after both minibatches, one AdamW step per network and minibatch: policy, value function, and the moving average of "
               "the policy, which began at the policy and was updated after each step", outputs)


def tokenizer(fixtures):
    bpe, source = fixtures.bpe, "Sennrich et al. 2016; " + GPT2
    words = "words by GPT-2's pattern; token ids 0..255 are the bytes in GPT-2's order, 256 + i is what merge i makes"

    def ids(values, means):
        return Value(means, value=values, typed=True)

    def array(values):
        return np.array(values, dtype=np.int64)

    yield Case("T/bpe/byte_order", "bpe_byte_order", "the byte of each of the ids 0..255: the printable ones of Latin-1 first, then the "
               "others, each ascending", source, {}, {"bytes": ids(bpe["byte_order"], "of each id")},
               computed=lambda r: {"bytes": array(r.modules.bpe.byte_order())})
    yield Case(
        "T/bpe/train", "bpe_train", "merges (left id, right id) until vocab_size - 1 tokens: each time the most frequent adjacent pair, of "
        "equally frequent ones that with the smallest (left, right); all adjacent positions count. " + words, source,
        {"documents": Value("text", value=bpe["documents"]), "vocab_size": Value("with one id for the end of text", value=bpe["vocab_size"])},
        {"merges": ids(bpe["merges"], "(left id, right id)")},
        computed=lambda r: {"merges": array(r.modules.bpe.train(bpe["documents"], bpe["vocab_size"]))})
    merges = [tuple(pair) for pair in bpe["merges"]]
    for number, encoding in enumerate(bpe["encodings"]):
        yield Case(
            f"T/bpe/encode/{number:02}", "bpe_encode", "tokens of the text: in each word always the earliest merge that applies; " + words,
            source, {"text": Value("hostile text", value=encoding["text"]), "merges": Value("(left id, right id)", value=bpe["merges"])},
            {"tokens": ids(encoding["tokens"], "ids")},
            computed=lambda r, text=encoding["text"]: {"tokens": array(r.modules.bpe.encode(text, merges))})
