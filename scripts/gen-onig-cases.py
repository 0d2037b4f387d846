#!/usr/bin/env python3
"""Writes internal/tokenizer/onig/testdata/cases.json: where the tokenizers library cuts texts by regular expressions.

usage: python3 scripts/gen-onig-cases.py [RANDOM [OUT]]

Needs `pip install tokenizers==0.23.3`. Run it in the repository's root. It writes, for expressions as tokenizers have
them, odd ones and RANDOM (60) made by chance, the ends in bytes of the pieces that each cuts texts into, and for every
class the hash of the characters that it has. Expressions that Oniguruma refuses are left out.
"""
import hashlib
import json
import random
import sys

from tokenizers import Regex, pre_tokenizers as P

OUT = "internal/tokenizer/onig/testdata/cases.json"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
REAL = [
    LLAMA3, r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s+".replace("{1,3}+", "{1,3}"),
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\s+$", r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
    r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[一-龥぀-ゟ゠-ヿ]+", r"\p{N}{1,3}", r" ?[^(\s|[.,!?…。，、।۔،])]+",
    r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|\s+(?!\S)|\s+",
    r"\d{1,3}(?=(?:\d{3})*\b)", r"(?=(\d{3})+(?!\d))", r"\p{N}{1,3}(?=(?:\p{N}{3})*(?:\P{N}|$))", r"(?<=\p{L})(?=\p{Lu}\p{Ll})", r"[^\s]+|\s+",
    r"\w+|[^\w\s]+", r"(?:\r?\n)+(?!\r?\n)", r"(?<!\d)\d{2}(?!\d)", r"\p{Latin}+|\p{Han}|\p{Hiragana}+|\p{Cyrillic}+", r" {2,}|\n+", r"\s{2,}|[\r\n]",
]
ODD = [
    "$", "^", r"\A", r"\z", r"\Z", r"\b", r"\B", r"\w", r"\W+", "^a", "a$", "^$", r"\s*$", r"^\s*", "", "a|", "|a", "x*", "x*?", "a??b", "a*?b", "a+?", "(?:ab)*?c",
    "(?:ab|a)(?:c|bcd)", "(a|ab)(c|bcd)(d*)", "(?>a+)b", "(?>a|ab)c", "a++b", "a*+a", "a?+a", "[a-c]{2,3}", "[a-c]{2,3}?", "(?:a|b){2}", "(?:ab?){2,}c?",
    "a{,2}b", "a{2}", "a{2,}b", ".", ".+", r".+?\n", "(?:)", "[^a]", r"[\s\S]", r"[\d\-b]", "[a-c&&[^b]]", "[^a-c&&b-d]", "[a-d&&b-e&&c-f]", "[[a-b][c]]", "[^[a]b]",
    r"[\P{L}a]", r"\p{^L}+", r"\P{^L}+", r"\p{lu}", r"\p{White Space}", r"\p{Punct}", "(?i:k)", "(?i:s)", "(?i:[sdmt]x?)", "(?i:ab)c", r"\x41", r"\x{1F642}", r"\u4e2d",
    r"\t|\a|\e", "(?<=a)b", "(?<!a)b", "(?<=ab|c)d", "(?<!ab|c).", r"(?<=^|\n)a", "(?=a)", "(?!a)", "(?=ab)a|b", "(?:a(?=b))+", "(?:a+b?)+c", "(?:a|b)*a", "(?:[ab]c?)+", r"(\s+\s+)+b",
    "(?:a|b|ab)*c", "(?:a*b)*c", "(?=(?:a|b)*c)a", "(?>(?:a|ab)+)c", "(?:aa|aaa)+b", "[a-b]+?[b-c]+?c", "a-b", r"a\-b", "[a-]", "[-a]", r"[\]a]", "[a^]", "a]", "a}", "{", "a{b", "]",
]
CLASSES = ([r"\s", r"\d", r"\w"] + [r"\p{%s}" % n for n in
           "L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp C Cc Cf Co LC Letter Mark Number Punctuation Punct Symbol Separator Digit "
           "Space White_Space Cntrl Word ASCII Any Arabic Armenian Bengali Bopomofo Cyrillic Devanagari Ethiopic Georgian Greek Gujarati Gurmukhi Han Hangul Hebrew Hiragana "
           "Kannada Katakana Khmer Lao Latin Malayalam Mongolian Myanmar Oriya Sinhala Tamil Telugu Thai Tibetan Yi".split()])
TEXTS = ["", "a", "Hello world, this is a test.", "two  spaces \n\n and  \n", "汉字 测试，3.14   ", "tabs\t\t\n x\r\n  ", "a\n", "\n", " \n", "it's IT'S don'T we'Ll", "1234567 12 1,234", "HTTPServer camelCase",
         "\u017ftop K\u212a s\u017f", "e\u0301\u0300 ½ Ⅷ ٣ ² 🙂\u200d", "x\u00a0\u3000\u0085y", "the end   ", "a--b==c//d", "    indent\n        more\n", "「日本語」ひらがなカタカナ", "Привет, мир! 12", "ab" * 9 + "c", "a" * 30]


def texts(rng, alphabet, n):
    return ["".join(rng.choice(alphabet) for _ in range(rng.randint(1, 12))) for _ in range(n)]


def by_chance(rng, depth=0):
    """An expression over a, b, c and a newline."""
    def atom():
        k = rng.random()
        if k < .45 or depth > 2:
            return rng.choice(["a", "b", "c", "[ab]", "[^a]", ".", r"\n", r"\w", "[b-c]"])
        inner = by_chance(rng, depth + 1)
        if k < .8:
            return "(?:" + inner + ")"
        return rng.choice(["(?=", "(?!", "(?>", "(?>"]) + inner + ")"

    def part():
        a = atom()
        if rng.random() < .05:
            return rng.choice(["^", "$", r"\b", r"\A", r"\z", "(?<=a)", "(?<!b|aa)"])
        return a + rng.choice(["", "", "", "*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{2,}", "*+", "++"]) if not a.startswith(("(?=", "(?!")) else a
    return "|".join("".join(part() for _ in range(rng.randint(1, 3))) for _ in range(rng.choice([1, 1, 1, 2, 2, 3])))


def ends(split, text):
    at, out = 0, []
    for piece, _ in split.pre_tokenize_str(text):
        at += len(piece.encode())
        out.append(at)
    return out


def characters(expr):
    """The hash of the characters of a class, as lo-hi of each run."""
    split, runs = P.Split(Regex(expr), "removed", invert=True), []
    points = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
    for i in range(0, len(points), 20000):
        for piece, _ in split.pre_tokenize_str("".join(map(chr, points[i:i + 20000]))):
            for c in map(ord, piece):
                if runs and (c == runs[-1][1] + 1 or (c, runs[-1][1]) == (0xE000, 0xD7FF)):
                    runs[-1][1] = c
                else:
                    runs.append([c, c])
    return hashlib.sha256(" ".join("%x-%x" % tuple(r) for r in runs).encode()).hexdigest()[:16]


def main():
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    rng = random.Random(3)
    wide = list("Aa1'sSlLtT \n\r\t!-/_.,ßſİé") + ["中", "ひ", "\u0301", "ǅ", "²", "Ⅷ", "\u00a0", "\u3000", "🙂", "٣", "\U0002ebf0", "\u1c89"]
    patterns = []
    for expr, set_of in [(e, TEXTS + texts(rng, wide, 12)) for e in REAL] + [(e, TEXTS[:6] + texts(rng, list("abcd ") + ["\n"], 12)) for e in ODD] + \
            [(by_chance(rng), texts(rng, list("aaabbc") + ["\n"], 12)) for _ in range(n)]:
        try:
            split = P.Split(Regex(expr), "isolated")
        except Exception:
            continue
        try:
            patterns.append({"expr": expr, "texts": set_of, "ends": [" ".join(map(str, ends(split, t))) for t in set_of]})
        except BaseException as e:  # a panic: Oniguruma gives up after ten million steps back
            print(expr, e, file=sys.stderr)
    classes = {c: characters(c) for c in CLASSES} if n <= 100 else {}
    with open(sys.argv[2] if len(sys.argv) > 2 else OUT, "w", encoding="utf-8") as f:
        f.write('{"classes":%s,\n"patterns":[\n%s\n]}\n' % (
            json.dumps(classes), ",\n".join(json.dumps(p, ensure_ascii=False, separators=(",", ":")) for p in patterns)))


if __name__ == "__main__":
    main()
