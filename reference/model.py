"""GPT-2 from raw tensors: the trunk, the language-model head and the scalar head.

Written to be checked by eye, not to be fast. No module classes, no fused attention, no padding: a
batch is its sequences back to back ("packed"), `offsets` says where each begins, and every loop over
sequences, heads and positions is spelled out. Gradients are left to autograd.

Letters: N token rows of the packed batch, C width, V vocabulary, NH heads, HS = C / NH, F inner width.
"""

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Config:
    """A GPT-2 shape, with Hugging Face's field names."""

    vocab_size: int
    n_positions: int
    n_embd: int
    n_layer: int
    n_head: int
    n_inner: int
    layer_norm_epsilon: float = 1e-5
    activation_function: str = "gelu_new"  # tanh form; "gelu" is the erf form
    tie_word_embeddings: bool = True
    # None: every layer sees the whole prefix (GPT-2). A number: GPT-3's alternation, where odd layers
    # (counted from 0) see only the last `attention_window` tokens, their own included.
    attention_window: int | None = None
    # False: scores are not divided by sqrt(HS).
    scale_attn_weights: bool = True
    # "bf16": every product with a weight matrix rounds its operands. No part of a model's shape.
    precision: str = "f32"


@dataclass(frozen=True)
class NeoConfig:
    """A GPT-Neo shape, with Hugging Face's field names."""

    vocab_size: int
    max_position_embeddings: int
    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    # Pairs: the kinds of some layers, and how often these follow each other.
    attention_types: list
    # What local layers see: the last `window_size` tokens, their own included.
    window_size: int
    layer_norm_epsilon: float = 1e-5
    activation_function: str = "gelu_new"
    tie_word_embeddings: bool = True
    model_type: str = "gpt_neo"

    def as_gpt2(self):
        """The GPT-2 that computes the same with `neo_as_gpt2`'s parameters; every second layer must be local."""
        kinds = [kind for group, times in self.attention_types for kind in group * times]
        assert kinds == [("global", "local")[layer % 2] for layer in range(self.num_layers)], kinds
        return Config(
            self.vocab_size, self.max_position_embeddings, self.hidden_size, self.num_layers, self.num_heads,
            self.intermediate_size, self.layer_norm_epsilon, self.activation_function, self.tie_word_embeddings,
            attention_window=self.window_size, scale_attn_weights=False)


def neo_as_gpt2(p):
    """GPT-2's parameters from a GPT-Neo's: its weights lie (outputs, inputs), and queries, keys and values are apart
    and have no biases.
    """
    out = {}
    for name, tensor in p.items():
        if name.endswith("q_proj.weight"):
            parts = [p[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
            attn = name.removesuffix("attention.q_proj.weight")
            out[attn + "c_attn.weight"] = torch.cat(parts).T
            out[attn + "c_attn.bias"] = torch.zeros(3 * len(tensor), dtype=tensor.dtype)
        elif not name.endswith(("k_proj.weight", "v_proj.weight")):
            of_block = name.startswith("transformer.h.") and tensor.dim() == 2
            out[name.replace("attention.out_proj", "c_proj")] = tensor.T if of_block else tensor
    return out


def neo_parameter_shapes(config):
    """As `parameter_shapes`, of a GPT-Neo with its language-model head tied."""
    shapes = {}
    for name, shape in parameter_shapes(config.as_gpt2(), "language_model").items():
        of_block = name.startswith("transformer.h.") and len(shape) == 2
        if name.endswith("c_attn.weight"):
            c = config.hidden_size
            attention = name.replace("c_attn.weight", "attention.")
            shapes |= {f"{attention}{part}_proj.weight": (c, c) for part in "qkv"}
        elif not name.endswith("c_attn.bias"):
            shapes[name.replace("attn.c_proj", "attn.attention.out_proj")] = shape[::-1] if of_block else shape
    return shapes


def parameter_shapes(config, head):
    """Every parameter's name and shape, in order. `head` is "language_model" or "scalar"."""
    c, f = config.n_embd, config.n_inner
    shapes = {"transformer.wte.weight": (config.vocab_size, c), "transformer.wpe.weight": (config.n_positions, c)}
    for layer in range(config.n_layer):
        h = f"transformer.h.{layer}."
        shapes |= {
            h + "ln_1.weight": (c,),
            h + "ln_1.bias": (c,),
            h + "attn.c_attn.weight": (c, 3 * c),
            h + "attn.c_attn.bias": (3 * c,),
            h + "attn.c_proj.weight": (c, c),
            h + "attn.c_proj.bias": (c,),
            h + "ln_2.weight": (c,),
            h + "ln_2.bias": (c,),
            h + "mlp.c_fc.weight": (c, f),
            h + "mlp.c_fc.bias": (f,),
            h + "mlp.c_proj.weight": (f, c),
            h + "mlp.c_proj.bias": (c,),
        }
    shapes |= {"transformer.ln_f.weight": (c,), "transformer.ln_f.bias": (c,)}
    if head == "scalar":
        shapes["score.weight"] = (1, c)
    elif not config.tie_word_embeddings:
        shapes["lm_head.weight"] = (config.vocab_size, c)
    return shapes


def spans(offsets):
    """(first row, one past the last row) of every sequence."""
    offsets = [int(o) for o in offsets]
    return list(zip(offsets[:-1], offsets[1:]))


def bf16(x):
    """The nearest bfloat16 of each number, ties to even, in the type of x. Ours start out as float32."""
    return x.float().bfloat16().to(x.dtype)


class RoundedProduct(torch.autograd.Function):
    """x weight, its operands rounded to bfloat16 but not its sums. So are those of the backward's two
    products, the gradient dy among them; what they give is the gradient of the unrounded x and weight.
    """

    @staticmethod
    def forward(context, x, weight):
        x, weight = bf16(x), bf16(weight)
        context.save_for_backward(x, weight)
        return x @ weight

    @staticmethod
    def backward(context, dy):
        x, weight = context.saved_tensors
        dy = bf16(dy)
        return dy @ weight.T, x.T @ dy


def product(x, weight, precision):
    """y[n, o] = sum over i of x[n, i] weight[i, o]."""
    if precision == "bf16":
        return RoundedProduct.apply(x, weight)
    return torch.einsum("ni,io->no", x, weight)


def linear(x, weight, bias, precision="f32"):
    """y[n, o] = bias[o] + sum over i of x[n, i] weight[i, o]. Weights lie (inputs, outputs)."""
    return product(x, weight, precision) + bias


def layer_norm(x, weight, bias, epsilon):
    """Per row: (x - mean) / sqrt(population variance + epsilon) * weight + bias."""
    mean = x.mean(dim=-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + epsilon) * weight + bias


def gelu_tanh(x):
    """Hugging Face's "gelu_new": GPT-2's approximation."""
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def gelu_erf(x):
    """Hugging Face's "gelu": x times the normal distribution function."""
    return 0.5 * x * (1.0 + torch.erf(x / math.sqrt(2.0)))


def embedding(wte, wpe, tokens, offsets):
    """wte[token] + wpe[position]; positions start at 0 in every sequence."""
    positions = torch.cat([torch.arange(end - start) for start, end in spans(offsets)])
    return wte[tokens] + wpe[positions]


def attention(qkv, offsets, heads, window=None, scaled=True):
    """Causal attention inside each sequence. qkv (N, 3C) holds queries, keys, values side by side, each
    of them head after head; returns (N, C). Position t sees max(0, t - window + 1) ..= t. Scores are divided by
    sqrt(HS), or not.
    """
    width = qkv.shape[1] // 3
    size = width // heads
    queries, keys, values = qkv[:, :width], qkv[:, width : 2 * width], qkv[:, 2 * width :]
    rows = []
    for start, end in spans(offsets):
        for t in range(start, end):
            first = start if window is None else max(start, t - window + 1)
            parts = []
            for head in range(heads):
                columns = slice(head * size, (head + 1) * size)
                query = queries[t, columns]
                scores = keys[first : t + 1, columns] @ query
                if scaled:
                    scores = scores / math.sqrt(size)
                weights = torch.exp(scores - scores.max())
                weights = weights / weights.sum()
                parts.append(weights @ values[first : t + 1, columns])
            rows.append(torch.cat(parts))
    return torch.stack(rows)


def trunk(p, config, tokens, offsets):
    """Hidden states (N, C) after the final layer norm. `p` maps parameter names to tensors."""
    activation = {"gelu_new": gelu_tanh, "gelu": gelu_erf}[config.activation_function]
    epsilon, precision = config.layer_norm_epsilon, config.precision
    x = embedding(p["transformer.wte.weight"], p["transformer.wpe.weight"], tokens, offsets)
    for layer in range(config.n_layer):
        q = {name.removeprefix(f"transformer.h.{layer}."): tensor for name, tensor in p.items()}
        window = config.attention_window if layer % 2 == 1 else None
        y = layer_norm(x, q["ln_1.weight"], q["ln_1.bias"], epsilon)
        y = linear(y, q["attn.c_attn.weight"], q["attn.c_attn.bias"], precision)
        y = attention(y, offsets, config.n_head, window, config.scale_attn_weights)
        x = x + linear(y, q["attn.c_proj.weight"], q["attn.c_proj.bias"], precision)
        y = layer_norm(x, q["ln_2.weight"], q["ln_2.bias"], epsilon)
        y = activation(linear(y, q["mlp.c_fc.weight"], q["mlp.c_fc.bias"], precision))
        x = x + linear(y, q["mlp.c_proj.weight"], q["mlp.c_proj.bias"], precision)
    return layer_norm(x, p["transformer.ln_f.weight"], p["transformer.ln_f.bias"], epsilon)


def log_softmax(logits):
    """logits - ln(sum of exp(logits)), per row."""
    shifted = logits - logits.max(dim=-1, keepdim=True).values
    return shifted - torch.log(torch.exp(shifted).sum(dim=-1, keepdim=True))


def logits(p, config, tokens, offsets):
    """(N, V). The head is the token embedding, or `lm_head.weight` when the model has its own."""
    hidden = trunk(p, config, tokens, offsets)
    weight = p["transformer.wte.weight"] if config.tie_word_embeddings else p["lm_head.weight"]
    return product(hidden, weight.T, config.precision)


def next_token_log_probs(p, config, tokens, offsets, temperature=1.0):
    """ln p(token[t+1] | tokens up to t) for every token but the first of each sequence; (N - B)."""
    table = log_softmax(logits(p, config, tokens, offsets) / temperature)
    return torch.cat([table[range(s, e - 1), tokens[s + 1 : e]] for s, e in spans(offsets)])


def token_scores(p, config, tokens, offsets):
    """The scalar head at every token, (N). Reward model and value function."""
    return torch.einsum("nc,oc->n", trunk(p, config, tokens, offsets), p["score.weight"])


def rewards(p, config, tokens, offsets):
    """One number per sequence: the scalar head at its last token, (B)."""
    return token_scores(p, config, tokens, offsets)[[end - 1 for _, end in spans(offsets)]]
