"""Does `transformers` read an exported model directory and agree with our program?

    instructgpt tokenize --model DIR --input texts.jsonl  > tokens.jsonl
    instructgpt logprobs --model DIR --input texts.jsonl  > logprobs.jsonl
    python reference/check_export.py --model DIR --texts texts.jsonl --tokens tokens.jsonl --logprobs logprobs.jsonl
    instructgpt score --model REWARD_MODEL --input texts.jsonl > scores.jsonl
    python reference/check_export.py --model REWARD_MODEL --scores scores.jsonl
    instructgpt score --model REWARD_MODEL --input pairs.jsonl > answers.jsonl    (or logprobs; prompts and responses)
    python reference/check_export.py --model REWARD_MODEL --pairs pairs.jsonl --answers answers.jsonl

The model runs twice in `transformers`, in float64 (the truth) and in float32. Our float32 program may be
off by ten times what their float32 run is off, and 1e-5: sums in another order cost about as much, a
wrong constant costs far more. One sequence at a time, so that padding cannot play a part. Exit code 1
when a difference is larger or a token differs.
"""

import argparse
import copy
import json
import sys
import types
import unittest.mock

import torch
import transformers
from transformers.models.gpt_neo import modeling_gpt_neo


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def gpt_neo_in_float64():
    """GPT-Neo's scores are float32 in `transformers`, whatever the model is in. Within this they are float64."""
    in_float64 = types.SimpleNamespace(**{**vars(torch), "float32": torch.float64})
    return unittest.mock.patch.object(modeling_gpt_neo, "torch", in_float64)


def check_numbers(what, directory, model_class, path, ours_of, theirs_of):
    single = model_class.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    double = copy.deepcopy(single).double()
    difference, floor, largest, count = 0.0, 0.0, 1.0, 0
    for number, record in enumerate(lines(path), 1):
        tokens = torch.tensor([record["tokens"]])
        with torch.no_grad():
            with gpt_neo_in_float64():
                truth = theirs_of(double, tokens)
            rounded = theirs_of(single, tokens)
        ours = torch.tensor(ours_of(record), dtype=torch.float64).reshape(-1)
        if ours.shape != truth.shape:
            print(f"{path}:{number}: expected {truth.numel()} numbers, found {ours.numel()}")
            return False
        if truth.numel():
            difference = max(difference, (ours - truth).abs().max().item())
            floor = max(floor, (rounded.double() - truth).abs().max().item())
            largest = max(largest, truth.abs().max().item())
        count += truth.numel()
    tolerance = 10 * floor + 1e-5 * largest
    passed = count > 0 and difference <= tolerance
    print(f"{'ok  ' if passed else 'FAIL'} {what}: {count} numbers, max difference {difference:.2e} "
          f"(allowed {tolerance:.2e}; transformers in float32 {floor:.2e})")
    return passed


def log_probs(model, tokens):
    table = torch.log_softmax(model(tokens).logits[0], dim=-1)
    return table[:-1].gather(1, tokens[0, 1:, None])[:, 0]


def reward(model, tokens):
    # Read at the last token that is not the configuration's pad token, which may be the end-of-text token.
    return model(tokens).logits[0]


def check_tokens(directory, texts, outputs):
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    texts, outputs = lines(texts), lines(outputs)
    # `<|endoftext|>` inside a text is plain text for us: keep the tokenizer from treating it as special.
    wrong = [i for i, (text, output) in enumerate(zip(texts, outputs), 1)
             if tokenizer(text["text"], split_special_tokens="<|endoftext|>" in text["text"])["input_ids"]
             != output["tokens"]]
    passed = len(texts) == len(outputs) and texts and not wrong
    print(f"{'ok  ' if passed else 'FAIL'} tokens: {len(texts)} texts, {len(outputs)} outputs, different in lines {wrong[:10]}")
    return bool(passed)


def check_form(directory, pairs, answers):
    """The chat template gives our prompts, to the token, and our whole texts."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    pairs, answers, wrong = lines(pairs), lines(answers), []
    for number, (pair, answer) in enumerate(zip(pairs, answers), 1):
        user = {"role": "user", "content": pair["prompt"]}
        prompt = tokenizer.apply_chat_template([user], add_generation_prompt=True, return_dict=False)
        both = [user, {"role": "assistant", "content": pair["response"]}]
        text = tokenizer.apply_chat_template(both, tokenize=False)
        ours = tokenizer.decode(answer["tokens"])
        # `logprobs` does not end a response.
        ended = ours if ours.endswith(tokenizer.eos_token) else ours + tokenizer.eos_token
        if answer["tokens"][:len(prompt)] != prompt or ended != text:
            wrong.append(number)
    refused = []
    for messages in [[{"role": "system", "content": "x"}], [user, both[1], user]]:
        try:
            tokenizer.apply_chat_template(messages, tokenize=False)
        except Exception as error:
            refused.append("learned to answer one request" in str(error))
    passed = len(pairs) == len(answers) and pairs and not wrong and refused == [True, True]
    print(f"{'ok  ' if passed else 'FAIL'} form of prompts: {len(pairs)} pairs, {len(answers)} answers, different in lines "
          f"{wrong[:10]}; other conversations refused: {refused}")
    return bool(passed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the model directory")
    parser.add_argument("--logprobs", help="output of `instructgpt logprobs`")
    parser.add_argument("--scores", help="output of `instructgpt score`")
    parser.add_argument("--texts", help="input of `instructgpt tokenize`, with --tokens")
    parser.add_argument("--pairs", help="input of `instructgpt score` or `logprobs`: prompts and responses; with --answers")
    parser.add_argument("--answers", help="its output")
    parser.add_argument("--tokens", help="output of `instructgpt tokenize`, with --texts")
    a = parser.parse_args()
    if not (a.logprobs or a.scores or (a.texts and a.tokens) or (a.pairs and a.answers)):
        parser.error("nothing to check: give --logprobs, --scores, --texts and --tokens, or --pairs and --answers")
    torch.set_num_threads(1)
    passed = True
    if a.texts and a.tokens:
        passed &= check_tokens(a.model, a.texts, a.tokens)
    if a.pairs and a.answers:
        passed &= check_form(a.model, a.pairs, a.answers)
    if a.logprobs:
        passed &= check_numbers("log-probs", a.model, transformers.AutoModelForCausalLM, a.logprobs,
                                lambda record: record["logprobs"], log_probs)
    if a.scores:
        passed &= check_numbers("rewards", a.model, transformers.AutoModelForSequenceClassification, a.scores,
                                lambda record: record["reward"], reward)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
