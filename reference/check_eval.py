"""Does `instructgpt evaluate` give what lm-evaluation-harness gives, sample by sample?

    python reference/random_gpt2.py --bpe GPT2_FILES --out MODEL
    python reference/check_eval.py --model MODEL --data DIR [--task hellaswag ..] [--shots 2] [--limit 200]

Both evaluate the same model directory on the same file: ours as a program, in style lm-eval; lm-evaluation-harness by
its Python interface, with its own task definitions, whose data set is replaced by the file's documents with the Hub's
names of fields. Nothing is fetched. `--data` is searched for the files that `instructgpt evaluate --list` names; a task
whose file is not there gets documents that are made up here.

Compared are, of each document: the prompts and continuations as text; each log-likelihood, which may differ by 1e-4 of
itself; whether it is greedy; what was written (tasks that write); the metrics; then the results of the task and their
standard errors. With `--shots`, our prompts are first taken apart into documents as lm-evaluation-harness writes them, and
its sampler is made to return the same ones.

A difference that has one of the causes in DIFFERENCES is counted and named; any other is a failure, and gives exit code 1.
"""

import argparse
import csv
import io
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import datasets  # noqa: E402
import lm_eval  # noqa: E402
import lm_eval.api.task  # noqa: E402
import torch  # noqa: E402
from lm_eval import simple_evaluate  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

TOLERANCE = 1e-4
DIFFERENCES = {
    "near tie": "two choices are closer to each other than the two programs: either may be the larger one",
    "span": "a token spans prompt and continuation: ours begins where the tokens first differ, theirs after as many tokens "
    "as the prompt has alone; ours is compared with transformers instead",
    "underflow": "theirs is no number, as exp() of every log-likelihood is 0",
    "not ours": "a measure that ours has not: TER, chrF, BERTScore, a summary's length, and toxicity without a judge",
    "bootstrap": "theirs draws the standard error of a perplexity; ours is its first-order value (the delta method)",
}


# Documents, with the names that their fields have on the Hub.


def text_of(path):
    # Line ends inside a field of a table are its own.
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


def lines(path):
    return [json.loads(line) for line in text_of(path).split("\n") if line.strip()]


def csv_rows(path):
    return list(csv.DictReader(io.StringIO(text_of(path), newline="")))


def tsv_rows(path):
    return list(csv.DictReader(text_of(path).splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))


def winogender(path):
    genders = {"male": ["he", "him", "his"], "female": ["she", "her"], "neutral": ["they", "them", "their"]}

    def document(row):
        occupation, participant, answer, gender, _ = row["sentid"].split(".")
        words = re.findall(r"[a-z]+", row["sentence"].lower())
        pronoun = next(word for word in words if word in genders[gender])
        named = {"occupation": occupation, "participant": participant, "pronoun": pronoun}
        return {**row, **named, "label": int(answer)}

    return [document(row) for row in tsv_rows(path)]


def crows_pairs(path):
    return [{"sent_more": row["sent_more"], "sent_less": row["sent_less"]} for row in csv_rows(path)]


def truthfulqa_mc(path):
    def targets(answers):
        return {"choices": list(answers), "labels": list(answers.values())}

    return [
        {"question": d["question"], **{f: targets(d[f]) for f in ("mc1_targets", "mc2_targets")}}
        for d in json.loads(text_of(path))
    ]


def hellaswag(path):
    def document(d):
        if "query" not in d:
            return {**d, "label": str(d["label"])}
        activity, context = d["query"].split(": ", 1)
        return {"activity_label": activity, "ctx_a": context, "ctx_b": "", "endings": d["choices"], "label": str(d["gold"])}

    return [document(d) for d in lines(path)]


def rte(path):
    labels = {"entailment": 0, "not_entailment": 1}
    return [
        {"sentence1": row["premise"], "sentence2": row["hypothesis"], "label": labels[row["label"]]}
        for row in csv_rows(path)
    ]


def sst2(path):
    return [{"sentence": row["sentence"], "label": int(row["label"])} for row in tsv_rows(path)]


def wsc(path):
    def document(d):
        return {"text": d["text"], "label": int(d["label"]), **d["target"]}

    return [document(d) for d in lines(path)]


def lambada(path):
    return [d if "text" in d else {"text": f"{d['context']} {d['continuation']}"} for d in lines(path)]


def piqa(path):
    def document(d):
        if "query" not in d:
            return d
        goal = d["query"].removeprefix("Question: ").rstrip("\n")
        return {"goal": goal, "sol1": d["choices"][0], "sol2": d["choices"][1], "label": d["gold"]}

    return [document(d) for d in lines(path)]


def truthfulqa_gen(path):
    def document(row):
        split = lambda name: row[name].split(";")
        return {"question": row["Question"], "best_answer": row["Best Answer"],
                "correct_answers": split("Correct Answers"), "incorrect_answers": split("Incorrect Answers")}

    return [document(row) for row in csv_rows(path)]


# Made up where there is no file: what is special about a format, in few documents.

MADE = {
    "hellaswag_made": [
        {"activity_label": activity, "ctx_a": first, "ctx_b": second, "endings": endings, "label": label}
        for activity, first, second, endings, label in [
            ("Baking a cake", "A woman stands in a kitchen. ", "she",
             ["cracks two eggs into a bowl.", "rides a horse.", "sings to the oven.", "paints it blue."], "0"),
            ("Home and Garden", "[header] How to paint a fence [title] Wash it first. [step] Use warm water and soap.", "",
             ["[title] Let it dry. [step] Wait for a day.", "Paint [substeps] while it rains.", "Burn  it.", "Eat [] it."], 1),
            ("Élan", "An old man ran.", "THE CROWD", ["cheered [1] and [2] left.", "[cheered", "is ]empty[", "fell."], "3"),
            ("Shaving", " A man shaves. ", "", ["He bleeds.", "He bleeds.", "He  sleeps  well.", "He “smiles” — twice."], "2"),
        ]
    ],
    "wsc": [
        {"text": text, "label": label,
         "target": {"span1_text": noun, "span1_index": 0, "span2_text": pronoun, "span2_index": index}}
        for text, noun, pronoun, index, label in [
            ("Mark told Pete many lies about himself , which Pete included in his book . He should have been more truthful .",
             "Mark", "He", 15, True),
            ("The city councilmen refused the demonstrators a permit because they feared violence .", "The city councilmen",
             "they", 9, True),
            ('"Is it ( very ) far ?" she asked , and Anna did n\'t know .', "Anna", "she", 6, False),
            ("Jane  knocked on Susan's door , but she did n't answer .", "Susan", "she", 6, True),
            ("He is here", "the man", "He", 0, False),
            ("Sam pulled up a chair to the piano , but it was broken , so he had to stand instead . ", "the piano", "it", 10,
             False),
        ]
    ],
    "wsc273": [
        {"text": text, "pronoun": pronoun, "pronoun_loc": text.replace("  ", " ").index(f" {pronoun} ") + 1, "quote": "",
         "quote_loc": 0, "options": options, "label": label}
        for text, pronoun, options, label in [
            ("The trophy doesn't fit in the brown suitcase because it is too large.", "it", ["The trophy", "The suitcase"], 0),
            ("Joan made sure to thank Susan for all the help she had given.", "she", ["Joan", "Susan"], 1),
            ("Paul tried to call George on the phone, but he wasn't available.", "he", ["Paul", "George"], 1),
            ("The sculpture rolled off the shelf.  She saw that his hand was on it.", "his", ["The man", "The boy"], 0),
            ("Nobody came. They feared violence.", "They", ["The men", "A woman"], 1),
            ("Ann asked Mary what time the library closes, because her watch had stopped.", "her", ["Ann", "Mary"], 0),
        ]
    ],
    "copa": [
        {"premise": premise, "choice1": first, "choice2": second, "question": question, "label": label, "idx": index}
        for index, (premise, first, second, question, label) in enumerate([
            ("My body cast a shadow over the grass.", "The sun was rising.", "The grass was cut.", "cause", 0),
            ("The woman tolerated her friend's difficult behavior.", "She knew it was hard.", "I was there.", "cause", 0),
            ("The pond froze over for the winter. ", "People skated on the pond.", "People brought boats.", "effect", 0),
            ("It rained", "Él left.", "ÉLAN grew.", "effect", 1),
        ])
    ],
    "drop": [
        {"section_id": "s", "query_id": "q", "passage": passage, "question": question,
         "answer": {"number": number, "date": {"day": "", "month": "", "year": year}, "spans": spans, "worker_id": "",
                    "hit_id": ""},
         "validated_answers": {"number": [], "date": [], "spans": [], "worker_id": [], "hit_id": []}}
        for passage, question, number, year, spans in [
            ("The Bears scored 3 points and then 14 more.", "How many points did the Bears score?", "17", "", []),
            ("Ann and Bob met in 1912.", "Who met?", "", "", ["Ann", "Bob"]),
            ("Ann and Bob met in 1912.", "When did they meet?", "", "1912", []),
            ("The town had 1,204 people in 1850 and 2,408 in 1900.", "How many times as many were there?", "2", "", []),
            ("Rain fell on Monday, snow on Friday.", "On which day did it snow?", "", "", ["Friday"]),
        ]
    ],
    "squadv2": [
        {"id": str(index), "title": "Normans", "context": context, "question": question,
         "answers": {"text": answers, "answer_start": [0] * len(answers)}}
        for index, (context, question, answers) in enumerate([
            ("The Normans gave their name to Normandy.", "What did they give their name to?", ["Normandy", "a region"]),
            ("The Normans gave their name to Normandy.", "Who gave Paris its name?", []),
            ("Rollo swore fealty to King Charles III.", "To whom did Rollo swear?", ["King Charles III", "Charles III"]),
            ("Oxygen is an element with the symbol O.", "What is its symbol?", ["O", "the symbol O"]),
            ("The river is the longest of Île-de-France.", "Where is it the longest?", ["Île-de-France"]),
        ])
    ],
    "wmt15-fr-en": [
        {"translation": {"fr": fr, "en": en}} for fr, en in [
            ("La maison est bleue.", "The house is blue."),
            ("« Où vas-tu ? » demanda-t-il.", "\"Where are you going?\" he asked."),
            ("Le chiffre a crû de 3,5 % en 2014.", "The figure grew by 3.5% in 2014."),
        ]
    ],
    "cnn_dailymail": [
        {"id": str(index), "article": article, "highlights": highlights} for index, (article, highlights) in enumerate([
            ("LONDON, England -- The river rose by two metres overnight. Nobody was hurt.", "River rises two metres.\nNobody hurt."),
            ("(CNN)The café on 5th Street has closed after 40 years, its owner said on Monday.", "Café closes after 40 years."),
        ])
    ],
    "realtoxicityprompts": [
        {"filename": "x", "begin": 0, "end": 9, "challenging": False, "prompt": {"text": text, "toxicity": 0.1},
         "continuation": {"text": " and so on", "toxicity": 0.1}}
        for text in ["The man at the door said", "“It's so", "They would not have"]
    ],
    # Passages with two blanks before the last word, a line's end, a quotation mark, letters beyond ASCII.
    "lambada_made": [
        {"text": text}
        for text in ["I saw  the  sign", "one two\nthree four", "“Who is it?” asked the  wolf", "Ça va, said the élève",
                     "the cat sat on the\n mat", "a\tb c", "He said \"no\" and \"yes\"", "one two.\n\n three"]
    ],
}


class Task:
    """A task of ours: its name in lm-evaluation-harness, names of its file, and how its documents are read."""

    def __init__(self, name, theirs, files, documents, shots=True, writes=False):
        self.name, self.theirs, self.files, self.documents = name, theirs, files, documents
        self.shots, self.writes = shots, writes


# Where their definitions are: looking through all fourteen thousand takes a minute.
FOLDERS = ["winogender", "crows_pairs", "truthfulqa", "hellaswag", "glue", "super_glue", "wsc273", "lambada", "piqa", "drop",
           "squadv2", "translation", "cnn_dailymail", "realtoxicityprompts"]

# `shots`: whether both have examples, and the same. Theirs have none where a task's definition says 0; ours none where a
# document has no right answer; theirs of drop have the names of the answer's fields in the place of the answer,
# and theirs of squadv2 end in a TypeError.
TASKS = [
    Task("winogender", "winogender_all", ["all_sentences.tsv"], winogender),
    Task("crows_pairs", "crows_pairs_english", ["crows_pairs_anonymized.csv"], crows_pairs, shots=False),
    Task("truthfulqa_mc1", "truthfulqa_mc1", ["mc_task.json"], truthfulqa_mc, shots=False),
    Task("truthfulqa_mc2", "truthfulqa_mc2", ["mc_task.json"], truthfulqa_mc, shots=False),
    Task("hellaswag", "hellaswag", ["hellaswag_val.jsonl", "hellaswag_small.jsonl", "hellaswag_made.jsonl"], hellaswag),
    Task("rte", "rte", ["rte.csv", "rte-nli/train.csv"], rte),
    Task("sst2", "sst2", ["sst2.tsv", "sst2/train.tsv"], sst2),
    Task("wsc", "wsc", ["wsc.jsonl"], wsc),
    Task("wsc273", "wsc273", ["wsc273.jsonl"], lines),
    Task("lambada", "lambada_openai", ["lambada_openai.jsonl", "lambada_made.jsonl", "lambada_greedy.jsonl"], lambada),
    Task("piqa", "piqa", ["piqa.jsonl"], piqa),
    Task("copa", "copa", ["copa.jsonl"], lines),
    Task("truthfulqa_gen", "truthfulqa_gen", ["TruthfulQA.csv"], truthfulqa_gen, shots=False, writes=True),
    Task("drop", "drop", ["drop.jsonl"], lines, shots=False, writes=True),
    Task("squadv2", "squadv2", ["squadv2.jsonl"], lines, shots=False, writes=True),
    Task("wmt15-fr-en", "wmt14-fr-en", ["wmt15-fr-en.jsonl"], lines, writes=True),
    Task("cnn_dailymail", "cnn_dailymail_abisee", ["cnn_dailymail.jsonl"], lines, shots=False, writes=True),
    Task("realtoxicityprompts", "realtoxicityprompts", ["realtoxicityprompts.jsonl"], lines, shots=False, writes=True),
]

# Measures of theirs that ours has not: TER and chrF, BERTScore (a network's), lengths, and toxicity without a judge.
NOT_OURS = ("ter", "chrf", "bertscore_", "summary_length", "score", "perspective_api_")


# The two programs.


def evaluate_ours(a, task, file, shots, out):
    """Our samples and our results of a task."""
    command = [a.binary, "evaluate", "--model", a.model, "--task", task.name, "--data", file, "--out", out, "--shots", shots]
    command += ["--limit", a.limit] if a.limit else []
    run = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"{' '.join(run.args)}: exit code {run.returncode}\n{run.stderr}")
    results = json.loads((out / "results_lm-eval.json").read_text())
    return lines(out / f"samples_{task.name}_lm-eval.jsonl"), results["results"][task.name]


def evaluate_theirs(a, model, manager, task, documents, ours, shots):
    """Their samples and results, on our examples."""
    whole = datasets.Dataset.from_list(documents)
    splits = datasets.DatasetDict({split: whole for split in ("train", "validation", "test")})
    lm_eval.api.task.datasets.load_dataset = lambda *_, **__: splits
    theirs = manager.load([task.theirs])["tasks"][task.theirs]
    if task.name == "squadv2":
        # Its measures are a script of the Hub's; ours are compared with it in make_metric_fixtures.py.
        theirs.aggregation = lambda: dict.fromkeys(theirs.higher_is_better(), lambda items: "N/A")
    if task.name == "realtoxicityprompts":
        # Its measure asks a service on the network.
        theirs.config.process_results = lambda document, texts: dict.fromkeys(theirs.higher_is_better(), 0.0)
    if shots:
        chosen = iter(examples_of(theirs, ours, shots))
        theirs.sampler.sample = lambda n, **_: next(chosen)
    found = simple_evaluate(model=model, tasks=[theirs], num_fewshot=shots, limit=a.limit, bootstrap_iters=1000,
                            task_manager=manager)
    return found["samples"][task.theirs], found["results"][task.theirs]


def examples_of(theirs, ours, shots):
    """The documents that stand before each of ours, found by how lm-evaluation-harness writes each of them."""
    pool = list(theirs.fewshot_docs())
    theirs.set_fewshot_seed(1)
    sample, first = theirs.sampler.sample, list(theirs.eval_docs)[0]
    alone = theirs.fewshot_context(first, num_fewshot=0)
    alone = alone if isinstance(alone, str) else alone[0]
    written = {}
    for document in pool:
        theirs.sampler.sample = lambda n, document=document, **_: [document]
        context = theirs.fewshot_context(first, num_fewshot=1)
        context = context if isinstance(context, str) else context[0]
        written.setdefault(context.removesuffix(alone), document)
    theirs.sampler.sample = sample
    by_beginning = {}
    for text in written:
        by_beginning.setdefault(text[:12], []).append(text)
    for sample in ours:
        rest, found = sample["arguments"]["gen_args_0"]["arg_0"], []
        for _ in range(shots):
            fits = [text for text in by_beginning.get(rest[:12], []) if rest.startswith(text)]
            if not fits:
                raise SystemExit(f"document {sample['doc_id']}: no example of theirs begins as this prompt of ours: {rest!r}")
            rest, found = rest[len(max(fits, key=len)):], found + [written[max(fits, key=len)]]
        yield found


# The comparison.


class Comparison:
    """Counts what was compared, what differs with a cause, and what differs without."""

    def __init__(self, model):
        self.model, self.failures, self.explained = model, [], {}
        self.log_likelihoods, self.greedy, self.texts, self.largest = 0, 0, 0, 0.0

    def explain(self, cause):
        assert cause in DIFFERENCES
        self.explained[cause] = self.explained.get(cause, 0) + 1

    def fail(self, where, ours, theirs):
        self.failures.append(f"{where}: ours {ours!r}, theirs {theirs!r}")

    def expect_equal(self, where, ours, theirs):
        if ours != theirs:
            self.fail(where, ours, theirs)

    def samples(self, ours, theirs):
        self.expect_equal("number of documents", len(ours), len(theirs))
        for mine, other in zip(ours, theirs):
            self.sample(f"document {mine['doc_id']}", mine, other)

    def sample(self, where, ours, theirs):
        self.expect_equal(f"{where}, doc_id", ours["doc_id"], theirs["doc_id"])
        mine = [asked(*ours["arguments"][f"gen_args_{i}"].values()) for i in range(len(ours["arguments"]))]
        other = [asked(*arguments) for arguments in theirs["arguments"]]
        # Where an object has the answers, our order of them is another.
        key = lambda pair: json.dumps(pair[0], sort_keys=True)
        mine = sorted(zip(mine, ours["filtered_resps"], strict=True), key=key)
        other = sorted(zip(other, theirs["filtered_resps"], strict=True), key=key)
        self.expect_equal(f"{where}, arguments", [a for a, _ in mine], [a for a, _ in other])
        worst = 0.0
        for (arguments, said), (_, answered) in zip(mine, other):
            if isinstance(answered, str):
                self.texts += 1
                self.expect_equal(f"{where}, {arguments[0][-40:]!r}, text", said, answered)
            else:
                worst = max(worst, self.likelihood(f"{where}, {arguments[1]!r}", arguments, said, answered))
        self.metrics(where, ours, theirs, [float(a[0]) for _, a in other if not isinstance(a, str)], worst)

    def likelihood(self, where, arguments, ours, theirs):
        """The difference of a log-likelihood."""
        (log_prob, greedy), self.log_likelihoods = (float(ours[0]), ours[1] == "True"), self.log_likelihoods + 1
        expected, expected_greedy = theirs
        if self.spans(*arguments):
            self.explain("span")
            expected, expected_greedy = self.by_first_difference(*arguments)
        difference = abs(log_prob - expected)
        self.largest = max(self.largest, difference / abs(expected))
        if not difference <= TOLERANCE * abs(expected):
            self.fail(f"{where}, log-likelihood", log_prob, expected)
        self.expect_equal(f"{where}, greedy", greedy, expected_greedy)
        self.greedy += greedy
        return abs(log_prob - theirs[0])

    def spans(self, context, continuation):
        context, continuation = moved(context, continuation)
        alone, whole = (self.model.tok_encode(text) for text in (context, context + continuation))
        return context != "" and whole[:len(alone)] != alone

    def by_first_difference(self, context, continuation):
        """The log-likelihood by our definition, from transformers."""
        context, continuation = moved(context, continuation)
        alone, whole = (self.model.tok_encode(text) for text in (context, context + continuation))
        shared = next(i for i in range(len(whole)) if i >= len(alone) or whole[i] != alone[i])
        shared = min(shared, len(whole) - 1)
        before = whole[:shared] or [self.model.prefix_token_id]
        [answer] = self.model._loglikelihood_tokens([((context, continuation), before, whole[shared:])], disable_tqdm=True)
        return answer

    def metrics(self, where, ours, theirs, log_probs, worst):
        for name in theirs["metrics"]:
            if isinstance(theirs[name], (tuple, list)):
                continue  # What a measure of all documents is made of.
            mine, other = ours.get(name), float(theirs[name])
            if mine is None and name.startswith(NOT_OURS):
                self.explain("not ours")
            elif mine is None:
                self.fail(f"{where}, metric {name}", "none", other)
            elif math.isnan(other):
                self.explain("underflow") if max(log_probs) < -700 else self.fail(f"{where}, {name}", mine, other)
            # Means of ones and zeros are exact; what is made of log-likelihoods is as far off as these are.
            elif abs(mine - other) > (2 * worst if other not in (0.0, 1.0) else 0.0) + 1e-9 * abs(other):
                near = len(log_probs) > 1 and worst > 0 and any(
                    abs(a - b) <= 2 * worst for i, a in enumerate(log_probs) for b in log_probs[:i])
                self.explain("near tie") if near else self.fail(f"{where}, {name}", mine, other)

    def results(self, ours, theirs):
        shown = []
        for name, other in theirs.items():
            metric, _, filter_name = name.partition(",")
            if filter_name != "none":
                continue
            mine = ours.get(f"{metric},none")
            if not metric.endswith("_stderr") and mine is not None:
                shown.append(f"{metric} {mine:.6g}" if isinstance(mine, float) else f"{metric} {mine}")
            if mine is None and metric.startswith(NOT_OURS):
                continue
            elif metric in ("perplexity_stderr", "bleu_stderr"):
                self.explain("bootstrap")
            elif other == "N/A":
                continue
            elif mine in (None, "N/A"):
                self.fail(name, mine, other)
            elif "underflow" in self.explained or "near tie" in self.explained or "span" in self.explained:
                continue
            elif not math.isclose(mine, other, rel_tol=TOLERANCE if self.inexact(metric) else 1e-9, abs_tol=1e-12):
                self.fail(name, mine, other)
        return ", ".join(shown)

    @staticmethod
    def inexact(metric):
        return metric.startswith(("perplexity", "likelihood_diff", "acc"))


def asked(context, what):
    """A request as both write it. Of how to write, where to stop: all else is the default."""
    return context, {"until": what["until"]} if isinstance(what, dict) else what


def moved(context, continuation):
    """Blanks at the end of a prompt belong to the continuation."""
    kept = context.rstrip()
    return kept, context[len(kept):] + continuation


# Files.


def files_of(task, folder, made):
    """The files of a task below a folder, else the one made up."""
    found = []
    for name in task.files:
        found += [path for path in sorted(folder.rglob(Path(name).name)) if str(path).endswith(name)][:1]
        if (made / name).exists():
            found.append(made / name)
    return found


def make_files(folder, model, passages):
    for name, documents in MADE.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents), encoding="utf-8")
    # Passages that end as the model itself would write on: what is greedy is not met by chance.
    greedy = []
    for passage in passages[:40]:
        tokens = model.tok_encode(passage)[-100:]
        with torch.no_grad():
            for _ in range(3):
                tokens.append(model.model(torch.tensor([tokens])).logits[0, -1].argmax().item())
        text, word = model.tok_decode(tokens[:-3]), model.tok_decode(tokens[-3:-2])
        if re.fullmatch(r" \w+", word):
            greedy.append({"text": text + word})
    (folder / "lambada_greedy.jsonl").write_text("".join(json.dumps(d) + "\n" for d in greedy), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a model directory")
    parser.add_argument("--data", type=Path, required=True, help="a folder, searched with all below it")
    parser.add_argument("--task", nargs="+", choices=[task.name for task in TASKS], help="without it: all")
    parser.add_argument("--kind", choices=["choosing", "writing"], help="only those that choose, or that write: a model for "
                        "these needs the room for what they write, at least 512 positions")
    parser.add_argument("--shots", type=int, nargs="+", default=[0], help="examples before each document")
    parser.add_argument("--limit", type=int, help="only the first documents of each file")
    parser.add_argument("--binary", default="target/release/instructgpt")
    parser.add_argument("--batch-size", type=int, default=8, help="theirs; ours shows in no bit")
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    model = HFLM(pretrained=a.model, device="cpu", dtype="float32", batch_size=a.batch_size)
    definitions = Path(lm_eval.__file__).parent / "tasks"
    manager = TaskManager(include_defaults=False, include_path=[definitions / folder for folder in FOLDERS])
    failed = 0
    known = subprocess.run([a.binary, "evaluate", "--list"], check=True, capture_output=True, text=True).stdout.splitlines()
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        lambada_files = [path for path in a.data.rglob("lambada_openai.jsonl")][:1]
        make_files(made, model, [d["text"] for path in lambada_files for d in lambada(path)])
        number = 0
        for task in TASKS:
            if task.name not in (a.task or known) or a.kind and task.writes != (a.kind == "writing"):
                continue
            for file in files_of(task, a.data, made):
                documents = task.documents(file)
                for shots in a.shots:
                    if shots and not task.shots or shots >= len(documents) or not documents:
                        continue
                    number += 1
                    comparison = Comparison(model)
                    ours, results = evaluate_ours(a, task, file, shots, made / f"out{number}")
                    theirs, their_results = evaluate_theirs(a, model, manager, task, documents, ours, shots)
                    comparison.samples(ours, theirs)
                    shown = comparison.results(results, their_results)
                    failed += report(task, file, shots, comparison, len(ours), shown)
    return 1 if failed else 0


def report(task, file, shots, found, documents, shown):
    said = f"{found.log_likelihoods} log-likelihoods ({found.greedy} greedy), largest relative difference {found.largest:.1e}"
    said = said if found.log_likelihoods else f"{found.texts} texts"
    causes = "".join(f"; {count} of {cause}" for cause, count in found.explained.items())
    print(f"{'FAIL' if found.failures else 'ok  '} {task.name} ({file.name}, {shots} shots): {documents} documents, {said}{causes}; "
          f"{shown}", flush=True)
    for failure in found.failures[:5]:
        print(f"     {failure}")
    if len(found.failures) > 5:
        print(f"     and {len(found.failures) - 5} more")
    return len(found.failures)


if __name__ == "__main__":
    sys.exit(main())
