"""Writes fixtures/metrics.json: the values of sacrebleu 2.6 and rouge-score 0.1.2, and of the definitions of SQuAD's,
DROP's and QuAC's scorers, on texts that this program makes itself.

    pip install "sacrebleu==2.6.*" rouge-score
    python reference/make_metric_fixtures.py [--out fixtures] [--check]
    [--squad evaluate-v2.0.py] [--drop drop_eval.py]

BLEU, ROUGE and the stems are what those packages return. The three scorers are on no package index, so they are here
once more, in their plainest form; what Python's `str.split`, `re`, `float` and `round` do in them is therefore Python's.
`--squad` and `--drop` take the official files and compare every value with theirs before anything is written.
"""

import argparse
import importlib.util
import itertools
import json
import random
import re
import string
from collections import Counter
from pathlib import Path

from nltk.stem.porter import PorterStemmer
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU

SEED = 20220304
ROUGE = ["rouge1", "rouge2", "rougeL", "rougeLsum"]

PLAIN = "the a an cat dog river of in on ran sat quickly quick running runs house houses 3 17 2.5 1,000 old state".split()
STRANGE = [
    "L'été", "naïve", "Straße", "İstanbul", "ΣΊΣΥΦΟΣ", "日本", "語。", "привет,", "e\u0301tude", "👍🏽", "a\u00a0b", "x\u3000y",
    "–", "—", "«oui»", "½", "٤٢", "\u212a", "a\u0903", "no\u200bspace", "tab\tbed", "\x1fx", "_a_", "the_end",
]
PUNCTUATED = [
    "don't", "U.S.", "3.5%", "$1,000.50", "20-year-old", "well-known", "(the)", "[x]", "...", ".", ",", "a.b", "1.",
    ".5", "5,a", "&amp;", "&quot;q&quot;", "&lt;b&gt;", "R&D", "<skipped>", "e.g.,", "--", "-", "10-", "http://a.b/c?d=1",
    "!", "\"A", "b\"", "{}", "~", "x^2", "`c`", "\\",
]
NUMBERS = [
    "5", "5.0", "05", "-5", "+7", "1e3", "1E16", "1e-5", "0.0001", "1_000", "1__0", "inf", "nan", "Infinity", "1,000", "$5",
    "5%", "3.14", "٣", "five", "1st", "2-3", "10-yard", "1.5e400",
]


def sentence(rng, longest=14, strange=True):
    """Words of all kinds, mostly plain, with a little chance of nothing at all."""
    words = []
    for _ in range(rng.randint(0, longest)):
        kind = rng.random()
        if strange and kind < 0.08:
            words.append(rng.choice(STRANGE))
        elif kind < 0.25:
            words.append(rng.choice(PUNCTUATED))
        else:
            words.append(rng.choice(PLAIN))
    return " ".join(words) + rng.choice(["", "", ".", " ", "\n", "?!"])


def altered(rng, text):
    """Something like `text`: words dropped, doubled, swapped or replaced."""
    words = text.split(" ")
    for _ in range(rng.randint(0, 4)):
        i = rng.randrange(len(words)) if words else 0
        what = rng.random()
        if what < 0.3:
            words[i : i + 1] = []
        elif what < 0.5:
            words[i:i] = words[i : i + 1]
        elif what < 0.7 and len(words) > 1:
            j = rng.randrange(len(words))
            words[i], words[j] = words[j], words[i]
        else:
            words[i : i + 1] = [rng.choice(PLAIN)]
    return " ".join(words)


def bleu(rng):
    tokenizer = BLEU(force=True).tokenizer
    texts = [sentence(rng) for _ in range(60)] + STRANGE + PUNCTUATED + ["", " ", "\n", "end-\nless", "end-\n", "x-\n\x1f"]
    tokens = [[text, tokenizer(text.rstrip())] for text in texts]
    international = BLEU(force=True, tokenize="intl").tokenizer
    international = [[text, international(text.rstrip())] for text in texts]
    corpora = []
    for size, count in [(1, 1)] * 25 + [(1, 3)] * 10 + [(3, 1), (3, 2), (5, 1), (5, 4), (12, 1), (12, 2)]:
        references = [[sentence(rng, 20) for _ in range(count)] for _ in range(size)]
        hypotheses = [altered(rng, rng.choice(of)) for of in references]
        corpora.append((hypotheses, references))
    corpora += [([""], [["a b"]]), (["a b"], [[""]]), ([""], [[""]]), (["a b c"], [["a b c"]]), (["x"], [["y", "x"]])]
    corpora.append((["the the the the the the the"], [["The cat is on the mat", "There is a cat on the mat"]]))
    rows = []
    for hypotheses, references in corpora:
        streams = [list(stream) for stream in zip(*references)]
        score = BLEU(force=True).corpus_score(hypotheses, streams)
        rows.append({
            "hypotheses": hypotheses,
            "references": references,
            "score": score.score,
            "printed": f"{score.score:.2f}",
            "precisions": score.precisions,
            "brevity_penalty": score.bp,
            "lengths": [score.sys_len, score.ref_len],
            "correct": [int(n) for n in score.counts],
            "total": [int(n) for n in score.totals],
        })
    return {"tokens": tokens, "international": international, "corpora": rows}


def stems(rng):
    """Words of suffixes that meet in every step, and strings of letters."""
    roots = "hop fail cat carr condit gener sens radic feudal electr adopt controll geo theo ag tr b y ba hyph oscill abl".split()
    ends = ["s", "ies", "ied", "ed", "eed", "ing", "y", "ational", "tional", "enci", "anci", "izer", "bli", "alli", "ably"]
    ends += ["entli", "eli", "ousli", "ization", "ation", "ator", "alism", "iveness", "fulness", "ousness", "aliti", "iviti"]
    ends += ["biliti", "fulli", "logi", "logy", "icate", "ative", "alize", "iciti", "ical", "ful", "ness", "ance", "ement"]
    ends += ["ment", "ent", "ion", "sion", "ou", "ism", "ate", "iti", "ous", "ive", "ize", "e", "ll", "lle", "er", "ible"]
    words = {rng.choice(roots) + rng.choice(["", "", rng.choice(ends)]) + rng.choice(ends) for _ in range(700)}
    words |= {"".join(rng.choices("aeiouybdlstz", k=rng.randint(3, 8))) for _ in range(300)}
    words |= set("sky skies dying lying tying news innings outing cannings howe proceed exceed succeed ties dies died ied".split())
    words |= {"is", "as", "yyyy", "2nd", "1990s", "x2ing"}
    stemmer = PorterStemmer()
    return [[word, stemmer.stem(word)] for word in sorted(words)]


def rouge(rng):
    scorers = [RougeScorer(ROUGE, use_stemmer=stemming) for stemming in (False, True)]

    def text():
        return "\n".join(sentence(rng, 9) for _ in range(rng.randint(1, 4)))

    cases = []
    for i in range(60):
        references = [text() for _ in range(1 if i < 45 else 3)]
        prediction = altered(rng, rng.choice(references))
        if i % 3 == 0:
            prediction = "\n".join(rng.sample(prediction.split("\n"), len(prediction.split("\n"))))
        cases.append((references, prediction))
    cases += [([""], ""), ([""], "x"), (["x"], ""), (["日本"], "日本"), (["\n\n"], "\n"), (["a b"], "b a"), (["İK\u212a"], "ik")]
    rows = []
    for references, prediction in cases:
        both = []
        for scorer in scorers:
            scores = scorer.score_multi(references, prediction)
            both.append([list(map(float, scores[name])) for name in ROUGE])
        rows.append({"references": references, "prediction": prediction, "plain": both[0], "stemmed": both[1]})
    return rows


# What the scorers of answers share.

ARTICLE = re.compile(r"\b(a|an|the)\b")


def without_punctuation(text):
    return "".join(c for c in text if c not in string.punctuation)


def normal_form(text):
    return " ".join(ARTICLE.sub(" ", without_punctuation(text.lower())).split())


def word_f1(prediction, reference):
    prediction, reference = normal_form(prediction).split(), normal_form(reference).split()
    common = sum((Counter(prediction) & Counter(reference)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(prediction), common / len(reference)
    return 2 * precision * recall / (precision + recall)


def answer(rng):
    kind = rng.random()
    if kind < 0.1:
        return rng.choice(["", "the", "A.", " ", "?"])
    if kind < 0.35:
        return " ".join(rng.choice(NUMBERS + PLAIN) for _ in range(rng.randint(1, 3)))
    return sentence(rng, 5)


def squad_score(prediction, references):
    references = [text for text in references if normal_form(text)] or [""]

    def f1(reference):
        if not normal_form(prediction) or not normal_form(reference):
            return float(normal_form(prediction) == normal_form(reference))
        return word_f1(prediction, reference)

    exact = max(float(normal_form(prediction) == normal_form(reference)) for reference in references)
    return [exact, max(map(f1, references))]


def squad(rng, official):
    rows = []
    for i in range(150):
        references = [answer(rng) for _ in range(i % 4)]
        prediction = altered(rng, rng.choice(references)) if references and i % 5 else answer(rng)
        score = squad_score(prediction, references)
        if official:
            data = [{"paragraphs": [{"qas": [{"id": "q", "answers": [{"text": text} for text in references]}]}]}]
            exact, f1 = official.get_raw_scores(data, {"q": prediction})
            assert score == [exact["q"], f1["q"]], (prediction, references, score, exact, f1)
        rows.append({"prediction": prediction, "references": references, "score": score})
    return rows


def number(text):
    try:
        return float(text)
    except ValueError:
        return None


def drop_form(span):
    pieces = []
    for piece in re.split(" |-", span):
        piece = piece.lower()
        if number(piece) is None:
            piece = without_punctuation(piece)
        if number(piece) is not None:
            piece = str(number(piece))
        pieces.append(" ".join(ARTICLE.sub(" ", piece).split()))
    return " ".join(piece for piece in pieces if piece)


def drop_score(prediction, reference):
    forms = [[drop_form(span) for span in spans] for spans in (prediction, reference)]
    exact = float(len(forms[0]) == len(forms[1]) and set(forms[0]) == set(forms[1]))
    predicted, gold = [[set(form.split()) for form in spans] for spans in forms]

    def f1(p, g):
        numbers = {word for word in g if number(word) is not None}
        if numbers and not numbers & p:
            return 0.0
        precision = len(g & p) / len(p) if p else 1.0
        recall = len(g & p) / len(g) if g else 1.0
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    # The best of all pairings, by trying every one.
    size = max(len(predicted), len(gold))
    short, long = sorted([predicted, gold], key=len)
    f = f1 if short is predicted else lambda p, g: f1(g, p)
    best = max(sum(f(a, b) for a, b in zip(short, order)) for order in itertools.permutations(long, len(short)))
    # numpy's rounding, which the official script uses: times 100, to the nearest even, over 100.
    return [exact, round(best / size * 100) / 100]


def drop(rng, official):
    rows = []
    for i in range(150):
        references = [[answer(rng) for _ in range(rng.choice([1, 1, 2, 4]))] for _ in range(1 + i % 3)]
        prediction = [altered(rng, span) for span in rng.choice(references)]
        rng.shuffle(prediction)
        prediction = (prediction + [answer(rng)])[: rng.randint(1, 5)]
        scores = [drop_score(prediction, reference) for reference in references]
        if official:
            for score, reference in zip(scores, references):
                theirs = list(map(float, official.get_metrics(prediction, reference)))
                assert score == theirs, (prediction, reference, score, theirs)
        scores = [score for score, reference in zip(scores, references) if reference[0].strip()] or [[0.0, 0.0]]
        score = [max(score[k] for score in scores) for k in (0, 1)]
        rows.append({"prediction": prediction, "references": references, "score": score})
    # One number in every way of writing it.
    for text in NUMBERS:
        score = drop_score(["x " + text], ["x 1000 5.0"])
        rows.append({"prediction": ["x " + text], "references": [["x 1000 5.0"]], "score": score})
    return rows


CANNOT = "CANNOTANSWER"


def quac(rng):
    """Dialogues with each question's F1 and people's, and the figures of them all."""

    def score(prediction, reference):
        if CANNOT in (prediction, reference):
            return float(prediction == reference)
        return word_f1(prediction, reference)

    def people(references):
        if len(references) == 1:
            return 1.0
        others = [references[:i] + references[i + 1 :] for i in range(len(references))]
        return sum(max(word_f1(a, b) for b in rest) for a, rest in zip(references, others)) / len(references)

    dialogues, f1s, kept, humans, good, good_dialogues = [], [], [], [], 0, 0
    for _ in range(25):
        questions, all_good = [], True
        for _ in range(rng.randint(1, 5)):
            first = sentence(rng, 6)
            answers = [first] + [altered(rng, first) if rng.random() < 0.7 else answer(rng) for _ in range(rng.randint(0, 4))]
            answers = [CANNOT if rng.random() < 0.25 else text for text in answers]
            prediction = rng.choice([altered(rng, first), first, CANNOT, rng.choice(answers)])
            spans = [text for text in answers if text != CANNOT]
            references = spans if len(spans) > len(answers) - len(spans) else [CANNOT]
            scores = [score(prediction, reference) for reference in references]
            rests = [scores[:i] + scores[i + 1 :] for i in range(len(scores))]
            model = scores[0] if len(scores) == 1 else sum(map(max, rests)) / len(scores)
            human = people(references)
            f1s.append(model)
            if human >= 0.4:
                kept.append(model)
                humans.append(human)
                good += model >= human
                all_good &= model >= human
            questions.append({"prediction": prediction, "answers": answers, "f1": model, "human": human})
        good_dialogues += all_good
        dialogues.append(questions)
    n = len(kept)
    figures = [sum(kept) / n, sum(f1s) / len(f1s), sum(humans) / n, good / n, good_dialogues / len(dialogues)]
    return {"dialogues": dialogues, "figures": figures}


def load(path):
    if path is None:
        return None
    spec = importlib.util.spec_from_file_location(Path(path).stem.replace("-", "_").replace(".", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="fixtures", help="the folder of metrics.json")
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    parser.add_argument("--squad", help="SQuAD's official evaluate-v2.0.py, to compare with")
    parser.add_argument("--drop", help="DROP's official drop_eval.py, to compare with")
    arguments = parser.parse_args()

    def rng(name):
        return random.Random(f"{SEED} {name}")

    content = {
        "bleu": bleu(rng("bleu")),
        "stems": stems(rng("stems")),
        "rouge": rouge(rng("rouge")),
        "squad": squad(rng("squad"), load(arguments.squad)),
        "drop": drop(rng("drop"), load(arguments.drop)),
        "quac": quac(rng("quac")),
    }
    # One case a line.
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":")).replace("},{", "},\n{") + "\n"
    path = Path(arguments.out) / "metrics.json"
    if arguments.check:
        assert path.read_text() == text, f"{path} differs"
        print(f"{path} is what this program makes")
    else:
        path.write_text(text)
        print(f"{path}: {len(text)} bytes")


if __name__ == "__main__":
    main()
