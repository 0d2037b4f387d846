#!/usr/bin/env python3
"""Writes internal/tokenizer/testdata/long: a small tokenizer, and hashes of the ids of words of a million letters.

usage: python3 scripts/gen-long-word-cases.py

Needs `pip install tokenizers==0.23.3`. Run it in the repository's root.
"""
import array
import hashlib
import json
import os

import tokenizers

OUT = "internal/tokenizer/testdata/long"
LETTERS = 1 << 20
MERGES = "a+a aa+aa aaaa+aaaa a+b b+a ab+ab aa+b b+aa ba+ba aa+a abab+aa aaaa+b".split()
ALPHABETS = ["a", "ab", "aaaaab", "abc"]


def word(alphabet):
    x, out = 1, []
    for _ in range(LETTERS):
        x = (x * 1664525 + 1013904223) % (1 << 32)
        out.append(alphabet[(x >> 24) % len(alphabet)])
    return "".join(out)


def main():
    merges = [m.split("+") for m in MERGES]
    names = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    names += dict.fromkeys(a + b for a, b in merges)
    t = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={s: i for i, s in enumerate(names)}, merges=[tuple(m) for m in merges]))
    t.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = tokenizers.decoders.ByteLevel()
    os.makedirs(OUT, exist_ok=True)
    t.save(OUT + "/tokenizer.json", pretty=False)
    cases = []
    for a in ALPHABETS:
        ids = t.encode(word(a)).ids
        cases.append(dict(alphabet=a, letters=LETTERS, tokens=len(ids), sha256=hashlib.sha256(array.array("i", ids).tobytes()).hexdigest()))
    with open(OUT + "/cases.json", "w") as f:
        json.dump(cases, f, indent=1)
        f.write("\n")


main()
