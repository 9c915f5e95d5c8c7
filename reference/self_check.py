"""Why the reference can be trusted: it is compared, in float64, with code that others wrote.

python reference/self_check.py prints one line per comparison and exits with 1 if any fails.
"""

import json
import sys
import tempfile

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import bpe
import bpe_text
import check_export
import losses
import make_fixtures
import model
import optim
import padded

FAILURES = []


def compare(what, ours, theirs, tolerance=1e-11):
    ours, theirs = torch.as_tensor(ours).detach(), torch.as_tensor(theirs).detach()
    difference = (ours - theirs).abs().max().item()
    report(what, difference <= tolerance, f"max difference {difference:.1e}")


def report(what, passed, note=""):
    print(f"{'ok  ' if passed else 'FAIL'} {what}: {note}")
    if not passed:
        FAILURES.append(what)


def check_ops(draw):
    x, w, b = draw.normal(7, 12), draw.normal(12), draw.normal(12)
    compare("layer norm = torch's", model.layer_norm(x, w, b, 1e-5), F.layer_norm(x, (12,), w, b, 1e-5))
    compare("GELU tanh = torch's", model.gelu_tanh(x), F.gelu(x, approximate="tanh"))
    compare("GELU erf = torch's", model.gelu_erf(x), F.gelu(x))
    compare("log-softmax = torch's", model.log_softmax(x), F.log_softmax(x, dim=-1))
    compare("log-sigmoid = torch's", losses.log_sigmoid(50 * x), F.logsigmoid(50 * x))
    for window in (None, 1, 4, 100):
        qkv = draw.normal(17, 3 * 12)
        q, k, v = (t.reshape(17, 3, 4).transpose(0, 1) for t in qkv.split(12, dim=1))
        distance = torch.arange(17)[:, None] - torch.arange(17)[None, :]
        mask = (distance >= 0) & (distance < (window or 17))
        theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(0, 1).reshape(17, 12)
        compare(f"attention, window {window} = torch's with that mask", model.attention(qkv, [0, 17], 3, window), theirs)


def hugging_face(config, **extra):
    return transformers.GPT2Config(
        **{k: v for k, v in vars(config).items() if k not in ("attention_window", "precision")}, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, attn_implementation="eager", **extra)


def check_model(draw):
    untied = model.Config(61, 24, 20, 3, 5, 52, 1e-3, "gelu", tie_word_embeddings=False)
    for name, config in [("GPT-2, tied", make_fixtures.DENSE), ("GPT-2, explicit head, erf", untied)]:
        p = make_fixtures.leaf(draw.parameters(config, "language_model"))
        theirs = transformers.GPT2LMHeadModel(hugging_face(config)).double().eval()
        missing = theirs.load_state_dict(p, strict=False).missing_keys
        report(f"{name}: parameter names", missing in ([], ["lm_head.weight"]), str(missing))
        theirs.tie_weights()
        lengths = [5, 1, 24, 13]
        offsets, tokens = make_fixtures.offsets_of(lengths), draw.tokens(43, 61)
        loss = losses.cross_entropy(model.next_token_log_probs(p, config, tokens, offsets))
        summed = 0.0
        for start, end in model.spans(offsets):
            ids = tokens[start:end]
            logits = theirs(ids[None]).logits[0]
            compare(f"{name}: logits, length {end - start}", model.logits(p, config, tokens, offsets)[start:end], logits)
            summed = summed + F.cross_entropy(logits[:-1], ids[1:], reduction="sum")
        their_loss = summed / (43 - len(lengths))
        compare(f"{name}: loss", loss, their_loss)
        their_loss.backward()
        ours = make_fixtures.gradients(loss, p)
        difference = max((ours[k] - t.grad).abs().max().item() for k, t in theirs.named_parameters() if k in ours)
        report(f"{name}: all gradients", difference < 1e-11, f"max difference {difference:.1e}")

    check_gpt_neo(draw)
    config = make_fixtures.REWARD
    p = draw.parameters(config, "scalar")
    theirs = transformers.GPT2ForSequenceClassification(hugging_face(config, num_labels=1)).double().eval()
    theirs.load_state_dict(p)
    tokens = draw.tokens(19, 61)
    compare("scalar head: reward", model.rewards(p, config, tokens, [0, 19]), theirs(tokens[None]).logits[0])


def check_gpt_neo(draw):
    """The fixture's tensors are those of `transformers`."""
    config = make_fixtures.GPT_NEO
    of_fixture = make_fixtures.gpt_neo(make_fixtures.Draw("gpt_neo", torch.float64))
    theirs = transformers.GPTNeoForCausalLM(transformers.GPTNeoConfig(**vars(config), attn_implementation="eager"))
    p = {name: tensor.detach() for name, tensor in of_fixture.items() if name.startswith("transformer.")}
    missing, unexpected = theirs.double().eval().load_state_dict(p, strict=False)
    report("GPT-Neo: parameter names", (missing, unexpected) == (["lm_head.weight"], []), f"{missing}, {unexpected}")
    theirs.tie_weights()
    with check_export.gpt_neo_in_float64():
        summed, log_probs = 0.0, []
        for start, end in model.spans(of_fixture["offsets"]):
            ids = of_fixture["tokens"][start:end]
            logits = theirs(ids[None]).logits[0]
            compare(f"GPT-Neo: logits, length {end - start}", of_fixture["logits"][start:end], logits)
            summed = summed + F.cross_entropy(logits[:-1], ids[1:], reduction="sum")
            log_probs.append(torch.log_softmax(logits[:-1], dim=-1).gather(1, ids[1:, None])[:, 0])
        compare("GPT-Neo: log-probs", of_fixture["log_probs"], torch.cat(log_probs))
        loss = summed / len(of_fixture["log_probs"])
        compare("GPT-Neo: loss", of_fixture["loss"], loss)
        loss.backward()
    for name, parameter in theirs.named_parameters():
        compare(f"GPT-Neo: gradient of {name}", of_fixture["grad." + name], parameter.grad)


def check_rounding(draw):
    # Nearest even by its definition, on the bits of a float32; half of these numbers are ties.
    x = draw.normal(4096)
    bits = x.float().numpy().view(np.uint32)
    bits[::2] = bits[::2] & 0xFFFF0000 | 0x8000
    nearest = ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)
    compare("bf16 = its definition", model.bf16(torch.from_numpy(bits.view(np.float32)).double()), nearest, 0.0)

    # With operands that are bf16 already, a linear layer is torch's; with others, that of the rounded ones.
    x, weight, bias, dy = draw.normal(5, 7), draw.normal(7, 3), draw.normal(3), draw.normal(5, 3)
    inputs = [t.clone().requires_grad_() for t in (x, weight, bias)]
    y = model.linear(*inputs, "bf16")
    x, weight = (t.bfloat16().double().requires_grad_() for t in (x, weight))
    theirs = F.linear(x, weight.T, bias)
    compare("bf16 linear = torch's of rounded operands", y, theirs)
    gradients = torch.autograd.grad(theirs, [x, weight], dy.bfloat16().double())
    for name, ours, theirs in zip(["x", "weight", "bias"], torch.autograd.grad(y, inputs, dy), [*gradients, dy.sum(dim=0)]):
        compare(f"bf16 linear: gradient of {name} = torch's", ours, theirs)

    # What the tolerance of `transformer_bf16` rests on. An operand that is off by 2^-21 of the largest in its
    # matrix, 8 roundings of float32, may be off by 4 times that when rounded, but by no more: only numbers
    # whose bf16 neighbours are as near as that become another one.
    rounded, moves = model.bf16, []

    def recording(x):
        if not torch.equal(x, x.float().double()):  # weights are exact
            error = 2.0**-21 * x.abs().max()
            moves.append(((rounded(x + error) - rounded(x - error)).abs().max() / error).item())
        return rounded(x)

    model.bf16 = recording
    make_fixtures.transformer_bf16(make_fixtures.Draw("transformer_bf16", torch.float64))
    model.bf16 = rounded
    report("transformer_bf16: no operand near a middle", max(moves) <= 4.0, f"of {len(moves)}, one moves by {max(moves):.1f} errors")


def check_optimizer(draw):
    for decay in (0.0, 0.1):
        w = {"matrix": draw.normal(5, 3), "bias": draw.normal(4)}
        theirs = {k: t.clone().requires_grad_() for k, t in w.items()}
        groups = [{"params": [theirs["matrix"]], "weight_decay": decay}, {"params": [theirs["bias"]], "weight_decay": 0.0}]
        optimizer, state = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95), eps=1e-8), {}
        for _ in range(10):
            g = {k: draw.normal(*t.shape) for k, t in w.items()}
            w = optim.adamw_step(w, g, state, 1e-2, 0.9, 0.95, 1e-8, decay)
            for k, t in theirs.items():
                t.grad = g[k]
            optimizer.step()
        for k in w:
            compare(f"AdamW, decay {decay}, {k} = torch's", w[k], theirs[k])


def check_losses(draw):
    # The published example of lm-human-preferences' whitening (float32 there).
    published = [0.05080712, 0.4381051, 0.8254035, 1.2127019, 1.6000004, 1.9872988, 2.3745968, 2.7618952, 3.1491938]
    x = torch.arange(12, 21, dtype=torch.float64) / 10
    compare("whitening = the published example", losses.whiten(x, shift_mean=False), torch.tensor(published).double(), 1e-6)
    # GAE by its definition: a sum of (gamma lambda)^l delta.
    r, v = draw.normal(6), draw.normal(6)
    delta = r + 0.9 * torch.cat([v[1:], torch.zeros(1)]) - v
    by_sum = torch.stack([sum(0.72 ** (l - t) * delta[l] for l in range(t, 6)) for t in range(6)])
    compare("GAE = its sum", losses.gae(r, v, [0, 6], 0.9, 0.8)[0], by_sum)
    r = draw.normal(2)
    compare("K = 2 is the pairwise loss", losses.reward_loss(r, [0, 2], [2, 1])[0], -F.logsigmoid(r[1] - r[0]))


def check_padded(draw):
    """The padded functions are the packed ones, whatever stands at padding."""
    lengths = torch.tensor([4, 9, 1, 6])
    mask = (torch.arange(9) < lengths[:, None]).long()
    offsets = make_fixtures.offsets_of(lengths)
    x, y, z = draw.normal(4, 9), draw.normal(4, 9), draw.normal(4, 9)

    def packed(t):
        return t[mask > 0]

    for name, ours, theirs in zip(("advantages", "returns"), padded.gae(x, y, mask, 0.9, 0.8),
                                  losses.gae(packed(x), packed(y), offsets, 0.9, 0.8)):
        compare(f"padded GAE, {name} = the packed one's", packed(ours), theirs)
        compare("  and 0 at padding", ours[mask == 0], torch.zeros(int((mask == 0).sum())), 0.0)
    scores = draw.normal(4)
    compare("padded rewards = the packed ones", packed(padded.kl_rewards(x, y, scores, mask, 0.02)),
            losses.kl_rewards(packed(x), packed(y), scores, offsets, 0.02))
    compare("padded whitening = the packed one", packed(padded.whiten(x, mask)), losses.whiten(packed(x)))
    compare("padded policy loss = the packed one", padded.policy_loss(x, y, z, mask, 0.2),
            losses.policy_loss(packed(x), packed(y), packed(z), 0.2)[0])
    compare("padded value loss = the packed one", padded.value_loss(x, y, z, mask, 0.2),
            losses.value_loss(packed(x), packed(y), packed(z), 0.2))
    compare("the mean = numpy's masked one", padded.masked_mean(x, mask), np.float64(np.ma.masked_array(x, mask == 0).mean()))
    for cut in ([0, 4], [0, 1, 4], [0, 1, 2, 3, 4]):
        compare(f"  and in micro-batches {cut}", padded.accumulated_mean(x, mask, cut), padded.masked_mean(x, mask))
    compare("sequence KL = a sum by hand", padded.sequence_kl(x, y, mask),
            sum((x[b, :n] - y[b, :n]).sum() for b, n in enumerate(lengths)) / 4)
    compare("rewards at the last token = by hand", padded.last_rewards(x, mask), torch.stack([x[b, n - 1] for b, n in enumerate(lengths)]))
    for side, m in (("left", mask.flip(1)), ("right", mask)):
        theirs = (m.cumsum(-1) - 1).masked_fill(m == 0, 0)  # as transformers' generate makes them
        compare(f"positions, padding on the {side} = transformers'", padded.positions(m), theirs, 0)
    logits, tokens = draw.normal(4, 12, 13), draw.tokens(4 * 12, 13).reshape(4, 12)
    theirs = -F.cross_entropy((logits[:, 2:-1] / 0.7).flatten(0, 1), tokens[:, 3:].flatten(), reduction="none").reshape(4, 9)
    compare("response log-probs = torch's cross-entropy", padded.response_log_probs(logits, tokens, 3, 0.7, mask), theirs * mask)
    sampled = [[1, 9, 3, 9, 5], [1, 2, 3, 4, 5], [9, 9, 9, 9, 9]]
    cut = [row[: row.index(9) + 1] if 9 in row else row for row in sampled]
    compare("truncation = list's index", padded.truncate(torch.tensor(sampled), 9, 0), torch.tensor([c + [0] * (5 - len(c)) for c in cut]), 0)
    compare("head's deviation", padded.head_weights(torch.ones(15)), torch.full((15,), 0.25))


def check_bpe():
    merges = bpe.train(bpe_text.DOCUMENTS, bpe_text.VOCAB_SIZE)
    vocabulary, lines = bpe.huggingface_files(merges)
    theirs = Tokenizer(models.BPE(vocabulary, [tuple(line.split(" ")) for line in lines]))
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.decoder = decoders.ByteLevel()
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + "/vocab.json", "w") as file:
            json.dump(vocabulary, file)
        with open(folder + "/merges.txt", "w") as file:
            file.write("#version: 0.2\n" + "\n".join(lines) + "\n")
        fast = transformers.AutoTokenizer.from_pretrained(folder, tokenizer_type="gpt2")
    for text in bpe_text.HOSTILE + bpe_text.DOCUMENTS:
        ours = bpe.encode(text, merges)
        report(f"BPE of {text[:30]!r} = tokenizers'", ours == theirs.encode(text).ids, f"{len(ours)} tokens")
        report("  and decodes to itself", bpe.decode(ours, merges) == text.encode())
        if "<|endoftext|>" not in text:
            report("  and = transformers'", ours == fast(text)["input_ids"])


def main():
    torch.set_num_threads(1)
    draw = make_fixtures.Draw("self_check", torch.float64)
    check_ops(draw)
    check_model(draw)
    check_rounding(make_fixtures.Draw("rounding", torch.float64))
    check_optimizer(draw)
    check_losses(draw)
    check_padded(draw)
    check_bpe()
    print(f"{len(FAILURES)} failures" if FAILURES else "all comparisons hold")
    return 1 if FAILURES else 0


if __name__ == "__main__":
    sys.exit(main())
