"""The cases of levels F and O: which tensors of the fixtures go into a function, and which come out.

`Value` and `Case` are what `make_cases.py` turns into a line of cases.json.
"""

from dataclasses import dataclass, field

OFFSETS = "where each sequence begins, and the end of the last"


@dataclass
class Value:
    """An input or output: a tensor of a file, or a value that stands in cases.json itself."""

    means: str
    file: str = ""
    tensor: str | None = None
    value: object = None
    step: float = 0.0  # the learning rate, for a weight after Adam
    typed: bool = False  # an inline value that is an integer array, with dtype and shape


@dataclass
class Case:
    id: str
    function: str
    asks: str
    source: str
    inputs: dict
    outputs: dict
    settings: dict = field(default_factory=dict)
    computed: object = None  # reference -> {output: array}; None: from the fixture made anew

    def compute(self, reference):
        if self.computed:
            return self.computed(reference)
        return {name: reference.fixture(value.file)[value.tensor] for name, value in self.outputs.items()}


def tensors(file, prefix="", **means):
    """{name: the tensor `prefix.name` of a file}. A dot in a tensor's name is a double underscore here."""
    names = {name.replace("__", "."): text for name, text in means.items()}
    return {name: Value(text, f"{file}.safetensors", prefix + name) for name, text in names.items()}


def one(file, tensor, means):
    return Value(means, f"{file}.safetensors", tensor)


PPO = "ppo_functions"
LHP = "lm-human-preferences"


def cases(fixtures):
    return [*ppo(), *episodes(), *padded(), *reward(), *adam(fixtures), *operations()]


def ppo():
    offsets = one(PPO, "offsets", "where each episode begins, and the end of the last")
    yield Case(
        "F/kl_rewards", "kl_rewards",
        "rewards[t] = -kl_coefficient * (log_probs[t] - reference_log_probs[t]); the episode's score is added once, at its "
        "last token; episodes are packed",
        f"Ouyang et al. 2022, equation 2; {LHP} train_policy.py",
        {**tensors(PPO, "kl_rewards.", log_probs="the policy's ln p of each response token, at sampling time",
                   reference_log_probs="the reference policy's ln p of each response token",
                   scores="the reward model's number for each episode", kl_coefficient="beta"), "offsets": offsets},
        tensors(PPO, "kl_rewards.", rewards="a reward for each response token"))
    for name in ["default", "discounted", "monte_carlo", "td"]:
        yield Case(
            f"F/gae/{name}", "gae",
            "inside each packed episode, from its last token back: delta[t] = rewards[t] + gamma * values[t+1] - values[t], "
            "advantages[t] = delta[t] + gamma * lambda * advantages[t+1], both 0 after the last token; "
            "returns = advantages + values",
            f"Schulman et al. 2016, equations 11-16; {LHP} train_policy.py",
            {**tensors(PPO, "gae.", rewards="a reward for each response token",
                       values="the value before each response token"), "offsets": offsets,
             **{k: one(PPO, f"gae.{name}.{k}", t) for k, t in [("gamma", "discount"), ("lambda", "decay of the sum")]}},
            tensors(PPO, f"gae.{name}.", advantages="an advantage for each token, not whitened",
                    returns="what the value function learns"))
    for name in ["published", "one", "two", "many"]:
        for variance in ["population", "unbiased"]:
            for mean in ["shifted", "mean_kept"]:
                source = f"{LHP} utils/core.py" if variance == "population" else "TRL and verl, masked_whiten"
                yield Case(
                    f"F/whiten/{name}/{variance}/{mean}", "whiten",
                    "y = (x - mean) / sqrt(variance + 1e-8), plus the mean unless shift_mean; the variance divides by n, or "
                    "by n - 1 if unbiased (of one element it is 0 in both)",
                    source + (" (its published example)" if name == "published" and variance == "population" else ""),
                    {"x": one(PPO, f"whiten.{name}.x", "any numbers")},
                    {"y": one(PPO, f"whiten.{name}.{variance}.{mean}", "x whitened")},
                    {"unbiased": variance == "unbiased", "shift_mean": mean == "shifted"})
    yield Case(
        "F/policy_loss", "policy_loss",
        "loss = mean of max(-A r, -A clamp(r, 1 - clip, 1 + clip)) with r = exp(log_probs - old_log_probs), over all tokens; "
        "dlog_probs its gradient; clip_fraction the share of tokens whose clipped term is strictly larger",
        f"Schulman et al. 2017, equation 7; {LHP} train_policy.py",
        tensors(PPO, "policy_loss.", log_probs="of the policy as it is", old_log_probs="at sampling time",
                advantages="of each token", clip="half the width of the range"),
        tensors(PPO, "policy_loss.", loss="the loss", dlog_probs="d loss / d log_probs", clip_fraction="a share, 0 to 1"))
    yield Case(
        "F/value_loss", "value_loss",
        "loss = 0.5 * mean of max((V - R)^2, (clamp(V, old_V - clip, old_V + clip) - R)^2), over all tokens; dvalues its gradient",
        f"{LHP} train_policy.py",
        tensors(PPO, "value_loss.", values="V, of the value function as it is", old_values="at sampling time",
                returns="R", clip="half the width of the range"),
        tensors(PPO, "value_loss.", loss="the loss", dvalues="d loss / d values"))
    yield Case(
        "F/adaptive_kl", "adaptive_kl",
        "after each measured kl: coefficient *= 1 + clamp(kl / target - 1, -0.2, 0.2) * episodes / horizon",
        f"Ziegler et al. 2019, section 2.2; {LHP} train_policy.py",
        tensors(PPO, "adaptive_kl.", initial="the coefficient before", kl="measured KL divergences, in order",
                target="wanted KL", horizon="in episodes", episodes="in each measurement"),
        tensors(PPO, "adaptive_kl.", coefficients="the coefficient after each measurement"))
    yield Case(
        "F/ema", "ema", "after = decay * average + (1 - decay) * weights", "Ouyang et al. 2022, appendix C.4",
        tensors(PPO, "ema.", average="the average before", weights="the new weights", decay="0.992"),
        tensors(PPO, "ema.", after="the average after"))


EPISODES = "episodes"


def episodes():
    """Functions of packed arrays whose right and wrong forms differ only on several sequences, or on small numbers."""
    packed = {"log_probs": one(EPISODES, "packed.log_probs", "of every token but the first of each sequence, packed (N - B)"),
              "offsets": one(EPISODES, "packed.offsets", OFFSETS + ", in tokens")}
    gradient = {"loss": "in nats", "dlog_probs": "d loss / d log_probs"}
    yield Case("F/ptx_loss", "ptx_loss", "loss = minus the mean of all log_probs of the batch alike; its gradient",
               "Ouyang et al. 2022, equation 2", packed, tensors(EPISODES, "ptx_loss.", **gradient))
    yield Case(
        "F/sft_loss", "sft_loss", "loss = minus the mean of the log_probs of all response tokens of the batch alike; its gradient",
        "Ouyang et al. 2022, section 3.5",
        {**packed, "prompt_lengths": one(EPISODES, "packed.prompt_lengths", "tokens of each prompt")},
        tensors(EPISODES, "sft_loss.", **gradient))
    yield Case(
        "F/estimates", "estimates", "advantages and returns by F/gae; then the advantages, and only these, whitened over the batch "
        "(population variance, epsilon 1e-8 in the root)", f"{LHP} train_policy.py",
        {**tensors(EPISODES, "estimates.", rewards="a reward for each response token", values="the value before each"),
         "offsets": one(EPISODES, "packed.offsets", OFFSETS), **tensors(EPISODES, "gae.", gamma="discount", **{"lambda": "decay"})},
        tensors(EPISODES, "estimates.", advantages="whitened", returns="of the advantages before whitening"))
    yield Case(
        "F/whiten/small/population/shifted", "whiten", "y = (x - mean) / sqrt(variance + 1e-8), of numbers whose variance is near 1e-8",
        f"{LHP} utils/core.py", tensors(EPISODES, "whiten_small.", x="small numbers"), tensors(EPISODES, "whiten_small.", y="x whitened"),
        {"unbiased": False, "shift_mean": True})
    yield Case("F/reward_head", "reward_head", "weights = normals / sqrt(C + 1): the reward head at its start, from standard normal draws",
               "Stiennon et al. 2020; lm-human-preferences language/model.py",
               tensors(EPISODES, "head.", normals="(C)"), tensors(EPISODES, "head.", weights="(C)"))


def padded():
    """The same functions of batches with padding. Garbage stands at padding in the inputs, 0 in the outputs."""
    mask = {"mask": one(EPISODES, "mask", "(B, T): 1 where a token is real, 0 where it is padding")}
    source = f"{LHP} train_policy.py, with padding as in summarize-from-feedback"

    def case(name, asks, inputs, outputs, **extra):
        return Case(f"F/padded/{name}", f"padded_{extra.get('function', name)}", asks, extra.get("source", source), inputs, outputs)

    for side, key in [("left", "left_"), ("right", "right_")]:
        yield case(
            f"positions/{side}", f"positions from 0 among the real tokens of each row; padding on the {side}, where the position is 0",
            {"mask": one(EPISODES, "left_mask" if side == "left" else "mask", "(B, T): 1 where a token is real")},
            {"positions": one(EPISODES, "positions" if side == "left" else "right_positions", "(B, T)")},
            function="positions", source="lm-human-preferences language/model.py")
    yield case("truncate", "every row through its first end_of_text; pad after it",
               tensors(EPISODES, "truncate.", tokens="(B, T), as sampled", end_of_text="a token", pad="a token"),
               tensors(EPISODES, "truncate.", truncated="(B, T)"), source="Stiennon et al. 2020; lm-human-preferences")
    yield case("last_rewards", "the reward model's number at each row's last real token",
               {**tensors(EPISODES, "last_rewards.", token_rewards="(B, T): the head at every token"), **mask},
               tensors(EPISODES, "last_rewards.", rewards="(B)"), source="Stiennon et al. 2020; summarize-from-feedback")
    prompt = {"prompt_length": one(EPISODES, "prompt_length", "P, columns of the prompt"), **mask}
    yield case("log_probs", "log_softmax(logits / temperature) of each response token, from the logits one column before it",
               {**tensors(EPISODES, "log_probs.", logits="(B, P + T, V)", tokens="(B, P + T)", temperature="divides the logits"), **prompt},
               tensors(EPISODES, "log_probs.", log_probs="(B, T)"), source="lm-human-preferences policy.py")
    yield case("values", "the value function's output one column before each response token",
               {**tensors(EPISODES, "values.", token_values="(B, P + T)"), **prompt},
               tensors(EPISODES, "values.", values="(B, T)"), source="lm-human-preferences policy.py")
    yield case("kl_rewards", "rewards = -kl_coefficient * (log_probs - reference_log_probs), and the score once, at the last real token",
               {**tensors(EPISODES, "kl.", log_probs="(B, T), the policy's", reference_log_probs="(B, T)", scores="(B)",
                          kl_coefficient="beta"), **mask},
               tensors(EPISODES, "kl.", rewards="(B, T)"))
    yield case("sequence_kl", "log_probs - reference_log_probs summed over each row's real tokens, then the mean over rows",
               {**tensors(EPISODES, "kl.", log_probs="(B, T), the policy's", reference_log_probs="(B, T)"), **mask},
               tensors(EPISODES, "kl.", sequence_kl="in nats"))
    yield case("gae", "F/gae inside each row's real tokens; the value after the last real token is 0",
               {**tensors(EPISODES, "gae.", rewards="(B, T)", values="(B, T)", gamma="discount", **{"lambda": "decay"}), **mask},
               tensors(EPISODES, "gae.", advantages="(B, T), not whitened", returns="(B, T)"))
    yield case("whiten", "y = (x - mean) / sqrt(variance + 1e-8), mean and population variance over all real tokens",
               {**tensors(EPISODES, "whiten.", x="(B, T)"), **mask}, tensors(EPISODES, "whiten.", y="(B, T)"))
    yield case("mean", "the mean over all real tokens of the batch alike", {**tensors(EPISODES, "mean.", x="(B, T)"), **mask},
               tensors(EPISODES, "mean.", mean="the mean"))
    yield case("accumulated_mean", "the mean over all real tokens of the batch alike, though it is worked through in micro-batches",
               {**tensors(EPISODES, "mean.", x="(B, T)", micro_batches="offsets of their rows"), **mask},
               tensors(EPISODES, "mean.", accumulated="the mean"))
    yield case("policy_loss", "F/policy_loss, the mean over all real tokens of the batch alike; its gradient",
               {**tensors(EPISODES, "policy_loss.", log_probs="(B, T)", old_log_probs="(B, T)", advantages="(B, T)",
                          clip="half the width of the range"), **mask},
               tensors(EPISODES, "policy_loss.", loss="the loss", dlog_probs="(B, T)"))
    yield case("value_loss", "F/value_loss, the mean over all real tokens of the batch alike; its gradient",
               {**tensors(EPISODES, "value_loss.", values="(B, T)", old_values="(B, T)", returns="(B, T)",
                          clip="half the width of the range"), **mask},
               tensors(EPISODES, "value_loss.", loss="the loss", dvalues="(B, T)"))


def reward():
    groups = tensors("reward", group_offsets="where each prompt's responses begin, and the end of the last",
                     ranks="1 is best; equal ranks are ties")
    for name, prefix in [("normal", "function."), ("extreme", "extreme.")]:
        yield Case(
            f"F/reward_loss/{name}", "reward_loss",
            "for each prompt the mean of -ln sigmoid(better - worse) over its pairs of different rank (tied pairs count nowhere), "
            "then the mean over prompts; drewards its gradient; the number of pairs of each prompt",
            "Ouyang et al. 2022, equation 1",
            {**tensors("reward", prefix, rewards="of each response"), **groups},
            tensors("reward", prefix, loss="the loss", drewards="d loss / d rewards", pair_counts="untied pairs of each prompt"))
    yield Case(
        "F/demonstration_mean", "demonstration_mean",
        "makes the mean reward of demonstrations 0 by the final layer norm's bias: bias - mean(rewards) * w / (w . w)",
        "Ouyang et al. 2022, section 3.5",
        {"bias": one("reward", "transformer.ln_f.bias", "of the final layer norm"),
         "w": one("reward", "score.weight", "the reward head, (1, C)"),
         "rewards": one("reward", "demonstrations.rewards", "of the demonstrations, before")},
        {"bias": one("reward", "folded.transformer.ln_f.bias", "the bias after")})


ADAM_SETTINGS = ["beta1", "beta2", "epsilon", "weight_decay"]
ADAM_FORMS = {"plain": "pytorch", "decay": "pytorch", "tf": "tensorflow"}
ADAM_ASKS = (
    "AdamW, t = 1..10: {0} -= lr * weight_decay * {0} for tensors of two dimensions; m, v are the moments with beta1, beta2; "
    "style pytorch: {0} -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon); "
    "style tensorflow: {0} -= lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + epsilon)")
ADAM_SOURCES = {"pytorch": "Loshchilov and Hutter 2019; PyTorch's AdamW", "tensorflow": f"TensorFlow 1's Adam, of {LHP}"}


def adam_settings(fixtures, run):
    settings = fixtures.array("adamw", f"{run}.settings").tolist()
    return {"style": ADAM_FORMS[run], **dict(zip(ADAM_SETTINGS, settings))}


def adam(fixtures):
    for run, form in ADAM_FORMS.items():
        gradients = {f"gradients.{k}": one("adamw", f"vector.gradients.{k}", "of each of the ten steps") for k in ("weights", "bias")}
        outputs = {f"{kind}.{k}": one("adamw", f"{run}.vector.{kind}.{k}", text)
                   for kind, text in [("after", "after ten steps"), ("m", "first moment"), ("v", "second moment")]
                   for k in ("weights", "bias")}
        yield Case(
            f"F/adam/{run}", "adam", ADAM_ASKS.format("w"), ADAM_SOURCES[form],
            {**tensors("adamw", "vector.", weights="(37, 1), so it decays", bias="(5), so it does not"), **gradients,
             "learning_rates": one("adamw", "learning_rates", "lr of each step")},
            outputs, adam_settings(fixtures, run))


def operation(name, asks, source, inputs, outputs, **extra):
    return Case(f"O/{name}", extra.pop("function", name), asks, source,
                tensors("ops", extra.get("prefix", name) + ".", **inputs),
                tensors("ops", extra.get("prefix", name) + ".", **outputs), extra.get("settings", {}))


def operations():
    dy = {"dy": "the gradient given for y"}
    yield operation(
        "linear", "y = x weight + bias; the gradients of the three", "Radford et al. 2019; Hugging Face's Conv1D",
        {"x": "(N, inputs)", "weight": "(inputs, outputs)", "bias": "(outputs)", **dy},
        {"y": "(N, outputs)", "dx": "of x", "dweight": "of weight", "dbias": "of bias"})
    yield operation(
        "layer_norm", "per row y = (x - mean) / sqrt(population variance + epsilon) * weight + bias; the gradients",
        "Ba et al. 2016, equations 3-4",
        {"x": "(N, C), rows of very different size", "weight": "(C)", "bias": "(C)", "epsilon": "inside the root", **dy},
        {"y": "(N, C)", "dx": "of x", "dweight": "of weight", "dbias": "of bias"})
    for form, formula, source in [
            ("gelu_tanh", "0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))", "Hendrycks and Gimpel 2016; GPT-2's form"),
            ("gelu_erf", "0.5 x (1 + erf(x / sqrt(2)))", "Hendrycks and Gimpel 2016")]:
        yield operation(form, f"y = {formula}; its gradient", source, {"x": "any numbers", **dy}, {"y": "of x", "dx": "of x"})
    yield operation(
        "embedding", "y[n] = wte[tokens[n]] + wpe[n's position in its sequence, from 0]; the gradients",
        "Radford et al. 2018, equation 2",
        {"tokens": "packed", "offsets": OFFSETS, "wte": "(V, C)", "wpe": "(positions, C)", **dy},
        {"y": "(N, C)", "dwte": "of wte", "dwpe": "of wpe"})
    for form, window in [("dense", ""), ("banded", " to window - 1 tokens back"), ("own", " to window - 1 tokens back")]:
        inputs = {"qkv": "(N, 3C): queries, keys, values side by side, each head after head", "offsets": OFFSETS,
                  "heads": "their number", **({"window": "tokens that a token sees, its own included"} if window else {}), **dy}
        yield operation(
            f"attention/{form}", "causal attention inside each packed sequence: y[t] = softmax over s <= t" + window +
            " of q[t] . k[s] / sqrt(C / heads), times v[s]; its gradient",
            "Vaswani et al. 2017, equation 1" + ("; Child et al. 2019 (the band)" if window else ""),
            inputs, {"y": "(N, C)", "dqkv": "of qkv"}, function="attention", prefix=f"attention_{form}")
    yield operation(
        "head", "log_probs = log_softmax(hidden weight^T / temperature) at the targets; entropy of that distribution; the gradients "
        "of the log-probs", "Ouyang et al. 2022; lm-human-preferences policy.py (the temperature)",
        {"hidden": "(N, C)", "weight": "(V, C)", "targets": "(N)", "temperature": "divides the logits",
         "dlog_probs": "the gradient given for log_probs"},
        {"log_probs": "(N)", "entropy": "(N), in nats", "dhidden": "of hidden", "dweight": "of weight"})
    yield Case(
        "O/cross_entropy", "cross_entropy", "loss = minus the mean over rows of log_softmax(hidden weight^T) at the targets; its gradients",
        "Ouyang et al. 2022", tensors("ops", "head.", hidden="(N, C)", weight="(V, C)", targets="(N)"),
        tensors("ops", "cross_entropy.", loss="in nats", dhidden="of hidden", dweight="of weight"))
