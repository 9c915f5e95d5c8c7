"""How long a training step takes on R ranks, before anyone has R machines.

    python reference/simulate_ranks.py                                       the tables of docs/ranks_cost.md
    python reference/simulate_ranks.py --model 124M --flops 1e14 --gbit 100 --ranks 2 8

One step of a language model's training is gone through as the program does it (src/model/relay.rs and shared_out.rs).
Micro-batch i belongs to rank i mod R. A rank goes forward by itself, and on the way back takes over the sums of each
parameter from the rank before, adds its part and hands them on in messages of 1 MB, while it goes on with the next
parameter. When all have told each other their losses, the finished sums go round once more, and every rank makes the same
update. What is simulated is when each rank is free, when each line is free, and when each message arrives; the sums
themselves are not.

Beside it stands the plain ring all-reduce that other programs use, begun as soon as a bucket of the last micro-batch's
gradient is there. Its bits depend on R.
"""

import argparse
import math
from dataclasses import dataclass, replace
from functools import cache

MESSAGE = 1 << 18  # numbers in a message
BUCKET = 25 << 18  # numbers in a bucket of an all-reduce: 25 MB, PyTorch's default
FOUR = 4  # bytes of a number


@dataclass(frozen=True)
class Model:
    """A GPT with a tied head and an inner width of 4 C."""

    vocab: int
    context: int
    width: int
    layers: int

    def parameters(self):
        v, t, c, l = self.vocab, self.context, self.width, self.layers
        return v * c + t * c + l * (12 * c * c + 13 * c) + 2 * c

    def chains(self):
        """Numbers that are handed on: the lookup's share of the tied table has chains of its own."""
        return self.parameters() + self.vocab * self.width

    def attention(self, tokens):
        """Operations of a forward's attention in one layer, over sequences of a whole context."""
        return 4 * self.width * tokens * (self.context + 1) / 2

    def flops(self, tokens):
        """Operations of a step, forward and back."""
        blocks = self.layers * (24 * tokens * self.width**2 + self.attention(tokens))
        return 3 * (blocks + 2 * tokens * self.vocab * self.width)


# Name: the shape, tokens of a step. The first two are those of `instructgpt bench`; the third is the paper's smallest, GPT-3
# XL (2048 wide, 24 layers, contexts of 2048). GPT-3 was trained with .5 and 1 M tokens a step at these two sizes.
MODELS = {
    "10.8M": (Model(65, 256, 384, 6), 1 << 15),
    "124M": (Model(50257, 1024, 768, 12), 1 << 19),
    "1.3B": (Model(50257, 2048, 2048, 24), 1 << 20),
}


@dataclass(frozen=True)
class Setup:
    """What the step is made on, and how."""

    flops: float = 1e12  # operations a second of a rank
    memory: float = 100e9  # bytes a second that a rank reads and writes
    line: float = 0.9 * 10e9 / 8  # bytes a second from a rank to the next
    latency: float = 30e-6  # seconds
    micro_batch: int = 8192  # tokens
    # Of the head's gradient: whole; in tiles, between the first and the last of the chunks of rows whose logits are held
    # together (a chunk after the other adds to all tiles); in tiles from logits that are all kept, or made again.
    head: str = "whole"
    blocks: str = "whole"  # of the gradient of a block's matrix: whole, or in tiles
    lookup: str = "whole"  # of the lookup's gradient: whole, or in tiles
    rows: str = "all"  # of the lookup's gradient: all, or those of tokens that have occurred


def micro_batches(model, tokens, ranks, most):
    """Tokens of each micro-batch: whole sequences, no more than leaves one for each rank."""
    sequences = max(1, tokens // model.context)
    room = min(max(most, model.context), -(-sequences * model.context // ranks))
    each = max(1, room // model.context)
    return [min(each, sequences - first) * model.context for first in range(0, sequences, each)]


@cache
def occurring(vocab, tokens):
    """Different tokens among so many, if the k-th most frequent one is 1 / k as frequent as the first (Zipf)."""
    total = sum(1 / k for k in range(1, vocab + 1))
    return round(sum(1 - math.exp(-tokens / (k * total)) for k in range(1, vocab + 1)))


@dataclass(frozen=True)
class Part:
    """A part of the way back: operations that need no sums, operations on the sums, and how many numbers these are. They are
    taken over before and handed on after, unless another part does it."""

    before: float
    adding: float
    count: int
    takes_over: bool = True
    hands_on: bool = True


def way_back(model, tokens, head="whole", blocks="whole"):
    """The parts of the way back through a micro-batch, but for the embeddings."""
    v, c = model.vocab, model.width
    product = 2 * tokens * v * c
    if head == "whole":
        yield Part(0, 3 * product, v * c)
    elif head == "chunks":
        chunks = -(-tokens // min(max((16 << 20) // v, 16), 1024))
        first = last = [*tiles(2 * product / chunks, product / chunks, v * c)]
        if chunks > 1:
            yield from (replace(tile, hands_on=False) for tile in first)
            yield Part((chunks - 2) * 3 * product / chunks, 0, 0, takes_over=False, hands_on=False)
            last = [replace(tile, takes_over=False) for tile in last]
        yield from last
    else:
        yield from tiles(2 * product, product * (2 if head == "again" else 1), v * c)
    yield Part(0, 0, 2 * c)
    for _ in range(model.layers):
        through = 24 * tokens * c * c + 2 * model.attention(tokens)
        for weights, biases in [(4, 1), (4, 4), (1, 1), (3, 3)]:
            matrix = through, 2 * tokens * weights * c * c, weights * c * c + biases * c
            yield from tiles(*matrix) if blocks == "tiles" else [Part(*matrix)]
            through = 0
        yield Part(0, 0, 2 * c)
        yield Part(0, 0, 2 * c)


def tiles(before, adding, count):
    """A parameter in tiles of a message each."""
    for start in range(0, count, MESSAGE):
        tile = min(MESSAGE, count - start)
        yield Part(before if start == 0 else 0, adding * tile / count, tile)


def update(model, setup):
    """Seconds of an update: the gradient's norm, AdamW, the check and clearing read and write ten numbers a parameter."""
    return 10 * FOUR * model.parameters() / setup.memory


class Step:
    """One step on `ranks` ranks: `seconds`, and `sent`, the bytes that each rank sends."""

    def __init__(self, model, tokens, ranks, setup):
        self.ranks, self.setup = ranks, setup
        self.now = [0.0] * ranks  # when each rank is free
        self.line = [0.0] * ranks  # when its line to the next one is
        self.sent = [0] * ranks
        parts = micro_batches(model, tokens, ranks, setup.micro_batch)
        arrived, so_far = [], 0
        for number, part in enumerate(parts):
            so_far += part
            arrived = self.micro_batch(model, number, part, so_far, arrived)
        self.tell_losses(tokens)
        if ranks > 1:
            self.go_round((len(parts) - 1) % ranks, [message for messages in arrived for message in messages])
        # Before the next one, all ask all whether they have been told to stop.
        self.seconds = max(self.now) + update(model, setup) + (ranks - 1) * setup.latency

    def micro_batch(self, model, number, tokens, so_far, arrived):
        """Goes forward and back. What arrives and is handed on: of each parameter the messages, (when it is there, numbers)."""
        setup, rank = self.setup, number % self.ranks
        forward = model.layers * (24 * tokens * model.width**2 + model.attention(tokens))
        now = self.now[rank] + forward / setup.flops
        if self.ranks == 1:
            free = sum(part.before + part.adding for part in way_back(model, tokens))
            self.now[rank] = now + free / setup.flops
            return []
        rows = occurring(model.vocab, so_far) if setup.rows == "occurring" else model.vocab
        lookup, positions = (0, 0, rows * model.width), (0, 0, model.context * model.width)
        embeddings = [*(tiles(*lookup) if setup.lookup == "tiles" else [Part(*lookup)]), Part(*positions)]
        handed_on, waiting = [], iter(arrived)
        for part in [*way_back(model, tokens, setup.head, setup.blocks), *embeddings]:
            now += part.before / setup.flops
            for at, numbers in next(waiting) if arrived and part.takes_over else []:
                now = max(now, at) + self.copy(numbers)
            now += part.adding / setup.flops
            if part.hands_on:
                now, messages = self.hand_on(rank, now, part.count)
                handed_on.append(messages)
        assert next(waiting, None) is None, "sums that were handed on and not taken over"
        self.now[rank] = now
        return handed_on

    def tell_losses(self, tokens):
        """All tell all the log-probs that they have found, round the ring, behind whatever is still on the lines."""
        part = FOUR * tokens / self.ranks
        for _ in range(1, self.ranks):
            self.line = [max(pair) + part / self.setup.line for pair in zip(self.line, self.now)]
            self.now = [max(now, self.line[rank - 1] + self.setup.latency) for rank, now in enumerate(self.now)]
        self.sent = [sent + (self.ranks - 1) * part for sent in self.sent]

    def go_round(self, last, arrived):
        """The finished sums, which the last rank has handed on already, go on to the one before it."""
        for behind in range(1, self.ranks):
            rank, handed_on = (last + behind) % self.ranks, []
            for at, numbers in arrived:
                self.now[rank] = max(self.now[rank], at) + self.copy(numbers)
                if behind + 1 < self.ranks:
                    handed_on += self.hand_on(rank, self.now[rank], numbers)[1]
            arrived = handed_on

    def hand_on(self, rank, now, count):
        """When the rank has put so many numbers into messages, and the messages. It does not wait for its line."""
        setup, line, messages = self.setup, self.line[rank], []
        for start in range(0, count, MESSAGE):
            numbers = min(MESSAGE, count - start)
            now += self.copy(numbers)
            line = (line if line > now else now) + FOUR * numbers / setup.line
            messages.append((line + setup.latency, numbers))
        self.line[rank] = line
        self.sent[rank] += FOUR * count
        return now, messages

    def copy(self, numbers):
        """Seconds to read and write a message's numbers."""
        return 2 * FOUR * numbers / self.setup.memory


def all_reduce(model, tokens, ranks, setup):
    """Seconds of a step whose gradients are added up by a ring all-reduce, bucket by bucket. The tied table's is complete,
    and goes, when the way back ends."""
    own = micro_batches(model, tokens, ranks, setup.micro_batch)[::ranks]  # the first rank's, which has the most
    back = list(way_back(model, own[-1]))
    alone = sum(part.before + part.adding for part in back)
    now = line = (sum(model.flops(part) for part in own) - alone) / setup.flops
    waiting = 0
    for place, part in enumerate([*back, Part(0, 0, model.vocab * model.width)]):
        now += (part.before + part.adding) / setup.flops
        waiting += part.count if place > 0 else model.context * model.width
        while ranks > 1 and (waiting >= BUCKET or waiting > 0 and place == len(back)):
            bucket = min(BUCKET, waiting)
            line = max(line, now) + 2 * (ranks - 1) * (FOUR * bucket / ranks / setup.line + setup.latency)
            waiting -= bucket
    return max(now, line) + update(model, setup)


def bytes_sent(model, tokens, ranks, setup):
    """What each rank sends in a step, by formula; in total it is 4 (M + R - 2) N + 4 (R - 1) T. Each of the M micro-batches
    hands on all N numbers, the lookup's share counted for itself. The finished ones pass R - 2 further lines: two ranks
    have no one to hand them on to. The T losses pass R - 1 lines each."""
    parts = micro_batches(model, tokens, ranks, setup.micro_batch)
    if ranks == 1:
        return [0]
    lookup, last = model.vocab * model.width, (len(parts) - 1) % ranks
    so_far = [sum(parts[: number + 1]) for number in range(len(parts))]

    def chains(number):
        rows = occurring(model.vocab, so_far[number]) if setup.rows == "occurring" else model.vocab
        return model.chains() - lookup + rows * model.width

    def of_rank(rank):
        hands_on = sum(chains(number) for number in range(rank, len(parts), ranks))
        finished = chains(len(parts) - 1) if rank not in (last, (last - 1) % ranks) else 0
        return FOUR * (hands_on + finished + (ranks - 1) * tokens / ranks)

    return [of_rank(rank) for rank in range(ranks)]


def efficiency(seconds, model, tokens, ranks, setup):
    """What R ranks do together, as a share of R times what one does."""
    return Step(model, tokens, 1, setup).seconds / (ranks * seconds)


def check():
    """Stops if the simulation is not what it says."""
    small, ideal = Model(65, 64, 64, 2), Setup(memory=math.inf, line=math.inf, latency=0.0, head="tiles")
    near = lambda a, b: math.isclose(a, b, rel_tol=1e-9)
    # The shapes, and the operations by the "6 N D" of the blocks' weights and the head's, plus attention.
    for name, millions in [("10.8M", 10.8), ("124M", 124.4), ("1.3B", 1315.7)]:
        assert near(round(MODELS[name][0].parameters() / 1e6, 1), millions), name
    weights = 12 * 2 * 64 * 64 + 65 * 64
    assert near(small.flops(640), 6 * weights * 640 + 3 * 10 * 2 * 4 * 64 * (64 * 65 / 2))
    # Micro-batches: as many sequences as there is room for, and no more than leaves one for each rank.
    assert micro_batches(small, 640, 1, 200) == [192, 192, 192, 64]
    assert micro_batches(small, 640, 4, 8192) == [128] * 5
    assert micro_batches(small, 128, 4, 8192) == [64, 64]
    assert micro_batches(Model(65, 2, 64, 2), 10, 3, 8192) == [4, 4, 2]
    assert occurring(10, 1) == 1 and occurring(10, 10**6) == 10
    # One rank takes its operations' time, and an update's.
    for setup in (Setup(), replace(ideal, head="again")):
        one = Step(small, 640, 1, setup)
        assert near(one.seconds, small.flops(640) / setup.flops + update(small, setup)) and one.sent == [0]
        assert near(efficiency(one.seconds, small, 640, 1, setup), 1)
        assert near(all_reduce(small, 640, 1, setup), one.seconds)
    # Where the network costs nothing, ranks with equal parts lose the time until the last of them has the first sums: for
    # each rank before it that of the largest product, which here is a block's. In tiles, it is the first tile's.
    deep = Model(65, 64, 512, 4)
    for ranks in (2, 4, 8):
        for blocks, share in (("whole", 1), ("tiles", MESSAGE / (4 * 512 * 512 + 512))):
            product = share * 2 * (4096 / ranks) * 4 * 512 * 512
            expected = (deep.flops(4096) / ranks + (ranks - 1) * product) / ideal.flops
            assert near(Step(deep, 4096, ranks, replace(ideal, blocks=blocks)).seconds, expected), (ranks, blocks)
        assert near(all_reduce(deep, 4096, ranks, ideal), deep.flops(4096) / ranks / ideal.flops)
    # Chunks of rows: with one chunk, they are tiles.
    assert near(Step(deep, 2048, 2, replace(ideal, head="chunks")).seconds, Step(deep, 2048, 2, ideal).seconds)
    wide = Model(8192, 64, 32, 1)  # two chunks of 1024 rows, one tile
    whole, chunks, kept = (Step(wide, 2 * 2048, 2, replace(ideal, head=head)).seconds for head in ("whole", "chunks", "tiles"))
    product = 2 * 2048 * 8192 * 32 / ideal.flops
    # While it waits, the next rank has made two of the three products: of the first chunk, or of all rows.
    assert near(whole - chunks, product) and near(whole - kept, 2 * product)
    # Logits that are made again are one product more.
    again = replace(ideal, head="again")
    more = Step(deep, 4096, 2, again).seconds - Step(deep, 4096, 2, ideal).seconds
    assert math.isclose(more, 2 * 2048 * 65 * 512 / ideal.flops, rel_tol=1e-6)
    tiny = replace(ideal, blocks="tiles")
    assert 0.98 < efficiency(Step(deep, 4096, 2, tiny).seconds, deep, 4096, 2, tiny) < 1
    # A step by hand: two ranks with a micro-batch each and lines so slow that all else is nothing. Both lines are busy
    # together, but the second one is behind by the parameter that takes longest (4 C^2 + 4 C); and the losses come last.
    slow = replace(ideal, flops=math.inf, line=1.0)
    expected = FOUR * (small.chains() + 4 * 64 * 64 + 4 * 64 + 64)
    assert near(Step(small, 128, 2, slow).seconds, expected)
    # By hand again: late by a latency each are the first one's sums, the second one's losses, and the question at the end.
    late = replace(ideal, flops=math.inf, latency=1.0)
    assert near(Step(small, 128, 2, late).seconds, 1 + 1 + 1)
    # An all-reduce that nothing hides: each line carries two times the share of all but one rank, in two buckets here.
    assert deep.parameters() > BUCKET
    late = replace(ideal, flops=math.inf, line=1.0, latency=1.0)
    expected = 2 * 3 * (FOUR * deep.parameters() / 4 + -(-deep.parameters() // BUCKET))
    assert near(all_reduce(deep, 4096, 4, late), expected)
    for ranks in (2, 3, 5, 8):
        for tokens in (64, 128, 640, 1984):
            every_tile = Setup(micro_batch=64, head="chunks", blocks="tiles", lookup="tiles")
            for setup in (Setup(), Setup(head="again", rows="occurring"), every_tile):
                step = Step(small, tokens, ranks, setup)
                assert all(map(near, step.sent, bytes_sent(small, tokens, ranks, setup))), (ranks, tokens)
                total = len(micro_batches(small, tokens, ranks, setup.micro_batch)) + ranks - 2
                total = FOUR * (total * small.chains() + (ranks - 1) * tokens)
                assert setup.rows == "occurring" or near(sum(step.sent), total)
                # No line and no rank does its work in less than its time, and a faster line makes no step slower.
                assert step.seconds > max(step.sent) / setup.line
                assert step.seconds > small.flops(tokens) / ranks / setup.flops
                assert Step(small, tokens, ranks, replace(setup, line=2 * setup.line)).seconds <= step.seconds
                # With everything ten times as fast, so is the step: only the ratios count.
                fast = {name: 10 * getattr(setup, name) for name in ("flops", "memory", "line")}
                fast = replace(setup, latency=setup.latency / 10, **fast)
                assert near(10 * Step(small, tokens, ranks, fast).seconds, step.seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--tokens", type=int, help="of a step; without it, 32 Ki, 512 Ki and 1 Mi")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--gbit", type=float, nargs="+", default=[1, 10, 25, 100], help="a line's, a second")
    parser.add_argument("--share", type=float, default=0.9, help="of it that messages get")
    parser.add_argument("--latency", type=float, default=30, help="microseconds")
    parser.add_argument("--flops", type=float, default=1e12, help="operations a second of a rank")
    parser.add_argument("--memory", type=float, default=100e9, help="bytes a second of a rank")
    parser.add_argument("--micro-batch", type=int, default=8192, help="micro_batch_tokens of the configuration")
    parser.add_argument("--head", choices=["whole", "chunks", "tiles", "again"], default="again",
                        help="the head's gradient: in one piece; in tiles, chunk by chunk of rows; in tiles from logits that "
                        "are all kept; or made again")
    parser.add_argument("--blocks", choices=["whole", "tiles"], default="whole", help="the gradient of a block's matrix")
    parser.add_argument("--lookup", choices=["whole", "tiles"], default="whole", help="the lookup's gradient")
    parser.add_argument("--rows", choices=["all", "occurring"], default="occurring",
                        help="of the lookup's gradient: all, or those of tokens that have occurred")
    a = parser.parse_args()
    check()
    for name in a.model:
        model, tokens = MODELS[name]
        tokens = a.tokens or tokens
        setup = Setup(a.flops, a.memory, math.inf, a.latency * 1e-6, a.micro_batch, a.head, a.blocks, a.lookup, a.rows)
        one = Step(model, tokens, 1, setup).seconds
        print(f"\n{name}, {tokens} tokens a step: {one:.2f} s on one rank. "
              "Efficiency of the ranks here, and of a ring all-reduce\n")
        print("| Gbit/s |" + "".join(f" {ranks} |" for ranks in a.ranks))
        print("|---|" + "---|" * len(a.ranks))
        for gbit in a.gbit:
            own = replace(setup, line=a.share * gbit * 1e9 / 8)
            cells = []
            for ranks in a.ranks:
                step = Step(model, tokens, ranks, own)
                by_formula = bytes_sent(model, tokens, ranks, own)
                assert all(math.isclose(*pair, rel_tol=1e-9) for pair in zip(step.sent, by_formula)), (name, ranks)
                both = step.seconds, all_reduce(model, tokens, ranks, own)
                cells.append(" / ".join(f"{100 * efficiency(seconds, model, tokens, ranks, own):.0f}" for seconds in both))
            print(f"| {gbit:g} |" + "".join(f" {cell} |" for cell in cells), flush=True)
        for title, of in [("GB sent a step", sum), ("by the busiest rank", max)]:
            sent = (of(bytes_sent(model, tokens, ranks, setup)) / 1e9 for ranks in a.ranks)
            print(f"| {title} |" + "".join(f" {x:.2f} |" for x in sent))
        reduced = (2 * (ranks - 1) * FOUR * model.parameters() / 1e9 for ranks in a.ranks)
        print("| all-reduce: GB sent |" + "".join(f" {x:.2f} |" for x in reduced), flush=True)


if __name__ == "__main__":
    main()
