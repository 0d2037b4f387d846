#!/usr/bin/env python3
"""Encodes one text with the Rust tokenizers package and with longlora, each on one core, and prints both rates.

usage: python3 scripts/bench-tokenizer.py TOKENIZER_DIR TEXT_FILE...

TOKENIZER_DIR holds tokenizer.json. The files are cut at empty lines into documents of about 4 KB. Needs
`pip install tokenizers` and Go; run it in the repository's root. Rates are bytes of UTF-8 text by seconds of
processor time, so that other work on the machine does not count; the tokenizer is loaded, its caches are empty, and
the best of three runs is shown.
"""
import os
import re
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
import tokenizers  # noqa: E402


def documents(paths):
    docs, doc = [], ""
    for path in paths:
        with open(path, encoding="utf-8", errors="replace") as f:
            for part in f.read().replace("\0", "").split("\n\n"):
                doc += part + "\n\n"
                if len(doc) >= 4096:
                    docs.append(doc)
                    doc = ""
    return docs + [doc] if doc else docs


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    folder, docs = sys.argv[1], documents(sys.argv[2:])
    size = sum(len(d.encode()) for d in docs)
    print(f"{size / 1e6:.1f} MB in {len(docs)} documents; tokenizers {tokenizers.__version__}")
    rates = {}
    for name, run in {
        "encode": lambda t: [t.encode(d, add_special_tokens=False) for d in docs],
        "encode_batch_fast": lambda t: t.encode_batch_fast(docs, add_special_tokens=False),
    }.items():
        best = 0.0
        for _ in range(3):
            t = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
            start = time.process_time()
            run(t)
            best = max(best, size / (time.process_time() - start) / 1e6)
        rates[name] = best
        print(f"tokenizers {name:18} {best:8.1f} MB/s")
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as f:
        f.write("\0".join(docs))
        f.flush()
        env = dict(os.environ, BENCH_TOKENIZER=os.path.abspath(folder), BENCH_TEXT=f.name)
        cmd = ["go", "test", "./internal/tokenizer", "-run", "^$", "-bench", "Encode/(ids|spans)", "-benchtime", "1x", "-count", "3", "-cpu", "1"]
        out = subprocess.run(cmd, env=env, text=True, capture_output=True, check=True).stdout
    for mode in ("ids", "spans"):
        best = max(float(r) for r in re.findall(rf"Encode/{mode}\S*\s.*?([\d.]+) MB/cpu-s", out))
        print(f"longlora   {mode:18} {best:8.1f} MB/s  {best / max(rates.values()):.2f} times the best of tokenizers")


if __name__ == "__main__":
    main()
