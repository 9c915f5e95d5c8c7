"""Byte-level BPE as in GPT-2, in its plainest form: train, encode, decode.

Token ids: 0..255 are the bytes in GPT-2's order, then one id per merge, in order, and `<|endoftext|>`
last. Text is cut into words first (GPT-2's pattern); pairs never cross a word boundary.
"""

from collections import Counter

import regex

WORD = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


def byte_order():
    """GPT-2's order: the printable bytes of Latin-1 first, then all the others, each ascending."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return printable + [b for b in range(256) if b not in printable]


def byte_characters():
    """The character that stands for each byte in `vocab.json` and `merges.txt`."""
    order = byte_order()
    printable = 0x7F - 0x21 + 0xAD - 0xA1 + 0x100 - 0xAE
    return {b: chr(b) if i < printable else chr(256 + i - printable) for i, b in enumerate(order)}


BYTE_TO_ID = {b: i for i, b in enumerate(byte_order())}


def words(text):
    """The byte ids of each word of `text`."""
    return [[BYTE_TO_ID[b] for b in word.encode("utf-8")] for word in WORD.findall(text)]


def replace(ids, pair, new):
    """`ids` with every occurrence of `pair`, taken from the left, replaced by `new`."""
    out, i = [], 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            out.append(new)
            i += 2
        else:
            out.append(ids[i])
            i += 1
    return out


def train(documents, vocab_size):
    """The list of merges (left id, right id). Merge number i makes token 256 + i.

    Each time the most frequent adjacent pair; of equally frequent ones that with the smallest left id,
    then the smallest right id. All adjacent positions count, overlapping ones too ("aaa" has two "aa").
    """
    counts = Counter(tuple(word) for document in documents for word in words(document))
    merges = []
    while 256 + len(merges) + 1 < vocab_size:
        pairs = Counter()
        for word, count in counts.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        new = 256 + len(merges)
        merges.append(best)
        merged = Counter()
        for word, count in counts.items():
            merged[tuple(replace(list(word), best, new))] += count
        counts = merged
    return merges


def encode(text, merges):
    """Token ids of `text`: inside each word, always the earliest-learnt merge that applies."""
    rank = {pair: i for i, pair in enumerate(merges)}
    out = []
    for ids in words(text):
        while candidates := [pair for pair in zip(ids, ids[1:]) if pair in rank]:
            best = min(candidates, key=rank.__getitem__)
            ids = replace(ids, best, 256 + rank[best])
        out += ids
    return out


def token_bytes(merges):
    """The bytes of every token but `<|endoftext|>`."""
    table = [bytes([b]) for b in byte_order()]
    for left, right in merges:
        table.append(table[left] + table[right])
    return table


def decode(tokens, merges):
    """The bytes of a token sequence."""
    table = token_bytes(merges)
    return b"".join(table[token] for token in tokens)


def huggingface_files(merges):
    """(vocab.json's dictionary, merges.txt's lines), as GPT-2 stores them."""
    characters = byte_characters()
    names = ["".join(characters[b] for b in token) for token in token_bytes(merges)]
    vocabulary = {name: i for i, name in enumerate([*names, "<|endoftext|>"])}
    return vocabulary, [f"{names[left]} {names[right]}" for left, right in merges]
