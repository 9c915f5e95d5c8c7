"""Other programs against the vectors: python reference/conformance.py --peers FOLDER --out reference/CONFORMANCE.md

Fetches the pinned versions of eight programs into FOLDER, takes the functions of levels F and O out of their files
(`conformance_peers.py`), calls them on the vectors' inputs, and writes a table of what conforms and of every deviation. None of
their code is kept here, and none of their dependencies is needed but torch, and jax for rlax. PyPI's are downloaded with pip,
the others from raw.githubusercontent.com; without a network for these, --checkouts names a folder with the files at
OWNER+NAME/path.
"""

import argparse
import dataclasses
import pathlib
import subprocess
import sys
import urllib.request
import zipfile

import numpy as np
import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "python" / "src"))

import conformance_peers  # noqa: E402
import instructgpt_vectors  # noqa: E402


def fetch(peer, folder, checkouts):
    """The folder of a peer's files."""
    kind, what = peer.source.split(":", 1)
    if kind == "pypi":
        place = folder / what.replace("==", "-")
        if not place.exists():
            wheels = folder / "wheels"
            command = ["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", wheels, what]
            subprocess.run([sys.executable, "-m", "pip", *map(str, command)], check=True)
            (wheel,) = wheels.glob(what.replace("==", "-") + "-*.whl")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(place)
        inside = list(place.glob("*.data/purelib"))
        return inside[0] if inside else place
    repository, commit = what.split("@")
    place = folder / repository.replace("/", "+")
    for file in peer.files:
        path = place / file
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if checkouts:
            path.write_bytes((checkouts / repository.replace("/", "+") / file).read_bytes())
        else:
            urllib.request.urlretrieve(f"https://raw.githubusercontent.com/{repository}/{commit}/{file}", path)
    return place


@dataclasses.dataclass
class Answer:
    """Of one peer to one case: "right", a bug's name, "other", or what it refused with."""

    case: str
    verdict: str
    detail: str = ""
    left_out: tuple = ()  # outputs of the case that the peer's function does not give


def judged(case, outputs):
    """The outputs that a peer gives, judged; those that it does not give are passed over."""
    right = case.outputs
    left_out = tuple(name for name in right if outputs.get(name) is None)
    given = {name: outputs[name] for name in right if name not in left_out}
    result = case.check({**right, **given})
    if result.ok:
        return Answer(case.id, "right", left_out=left_out)

    def is_bug(bug):
        wrong = case.wrong(bug)
        changed = any(not np.array_equal(wrong[name], right[name]) for name in given)
        return changed and case_within(case, given, wrong)

    for bug in case.bugs:
        if is_bug(bug):
            return Answer(case.id, bug, left_out=left_out)
    detail = "; ".join(str(v) for v in result.verdicts.values() if not v.ok)
    return Answer(case.id, "other", detail, left_out)


def case_within(case, given, wrong):
    for name, value in given.items():
        got = np.asarray(value.detach().numpy() if hasattr(value, "detach") else value, dtype=np.float64)
        near = lambda: (np.abs(got - wrong[name]) <= case.tolerances[name]) | (np.isnan(got) & np.isnan(wrong[name]))
        if got.shape != wrong[name].shape or not near().all():
            return False
    return True


def ask(peer, root):
    """A peer's answers to all cases of the functions that it has."""
    functions, answers = peer.functions(root), []
    for case in instructgpt_vectors.cases(level="FO"):
        function = functions.get(case.function)
        if function is None:
            continue
        try:
            outputs = function(case)
        except Exception as error:  # Theirs may refuse anything.
            answers.append(Answer(case.id, "other", f"refuses: {error}"))
            continue
        if outputs is not None:
            answers.append(judged(case, outputs))
    return answers


def group(id):
    """The row of a case in the table: its function, and the variant if a function has settings that programs lack."""
    parts = id.split("/")
    if parts[1] == "whiten":
        return "F/whiten, " + {"population": "n", "unbiased": "n - 1"}[parts[3]]
    if parts[1] in ("gae", "reward_loss"):
        return "/".join(parts[:2])
    return id


def cell(answers, notes, peer):
    """What a peer's answers come to, with the number of its note."""
    if not answers:
        return ""
    verdicts = {a.verdict for a in answers}
    reason = next((r for r in peer.reasons if any(r.matches(a.case) for a in answers)), None)
    text = "right" if verdicts == {"right"} else ", ".join(
        f"`{v}`" if v != "other" else "another definition" for v in sorted(verdicts - {"right"}))
    if "right" in verdicts and len(verdicts) > 1:
        text += f" ({sum(a.verdict == 'right' for a in answers)} of {len(answers)} right)"
    if verdicts != {"right"} or reason:
        assert reason, f"{peer.name}: no reason given for {[(a.case, a.verdict, a.detail) for a in answers]}"
        if reason not in notes:
            notes.append(reason)
        text += f" [{notes.index(reason) + 1}]"
    return text


def report(peers, everything):
    rows = {}
    for peer, answers in zip(peers, everything):
        for answer in answers:
            rows.setdefault(group(answer.case), {}).setdefault(peer.name, []).append(answer)
    order = list(dict.fromkeys(group(case.id) for case in instructgpt_vectors.cases(level="FO")))
    notes, table = [], []
    for row in (row for row in order if row in rows):
        cells = [cell(rows.get(row, {}).get(peer.name, []), notes, peer) for peer in peers]
        table.append(f"| {row} | " + " | ".join(cells) + " |")
    right = sum(a.verdict == "right" for answers in everything for a in answers)
    lines = [
        "# Other programs against the vectors",
        "",
        f"Vectors {instructgpt_vectors.version()}, levels F and O, made by `reference/conformance.py`; this file is its output. Each cell is a",
        "function of a program, called on the inputs of the cases of that row: **right** within the tolerances, or the name of the",
        "bug whose numbers it gives (`fixtures/cases.json` says what each is), or another definition. A number leads to the",
        "reason below. An empty cell: the program has no such function, or none that was called by itself. Outputs that a function",
        "does not give, such as a clip fraction, are passed over. The names are of numbers, and no verdict on a program: some of these",
        f"choices are deliberate. Of {sum(map(len, everything))} answers {right} are right.",
        "",
        "| program | version | functions from |",
        "|---|---|---|",
        *(f"| [{peer.name}]({peer.url}) | {peer.source.split(':', 1)[1].replace('==', ' ').replace('@', ' at ')} | {', '.join(f'`{f}`' for f in peer.files)} |"
          for peer in peers),
        "",
        "| | " + " | ".join(peer.name for peer in peers) + " |",
        "|---|" + "---|" * len(peers),
        *table,
        "",
        "No function of these programs answers " + ", ".join(row for row in order if row not in rows) + ".",
        "",
        "## Reasons",
        "",
    ]
    for number, reason in enumerate(notes, 1):
        owner = ", ".join(peer.name for peer in peers if reason in peer.reasons)
        threads = "" if reason.threads is None else "".join(f" {url}" for url in reason.threads) or " No thread about it was found."
        lines.append(f"{number}. **{owner}**: {reason.text}{threads}")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=pathlib.Path, required=True, help="where fetched programs are kept")
    parser.add_argument("--checkouts", type=pathlib.Path, help="a folder with OWNER+NAME/path for those that PyPI lacks")
    parser.add_argument("--out", type=pathlib.Path, help="the report (otherwise standard output)")
    parser.add_argument("--details", action="store_true", help="also print every answer")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    peers = conformance_peers.PEERS
    everything = [ask(peer, fetch(peer, arguments.peers, arguments.checkouts)) for peer in peers]
    if arguments.details:
        for peer, answers in zip(peers, everything):
            for a in answers:
                print(f"{peer.name:12} {a.case:45} {a.verdict} {a.detail}" + (f" (without {', '.join(a.left_out)})" if a.left_out else ""))
    text = report(peers, everything)
    if arguments.out:
        arguments.out.write_text(text)
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
