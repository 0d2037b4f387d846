#!/usr/bin/env python3
"""Long real text for the recipes' grid, out of Debian 12's packages perl-doc, sqlite3-doc, git-doc and vim-doc, or, where the set
second is named, of python3.11-doc, postgresql-doc-15 and linux-doc-6.1:

  apt-get download perl-doc sqlite3-doc git-doc vim-doc; for p in *-doc*.deb; do dpkg -x $p IN/${p%%_*}; done
  text.py IN OUT [second]; for x in train eval short; do longlora prepare --model MODEL --data OUT/$x.jsonl --out $x.bin; done

Each collection in the order of its files' names, joined to documents of about 700 kB; the last 15 % of its texts are for
judging. Writes OUT/train.jsonl (19.8 MB) and OUT/eval.jsonl (8.1 MB), and OUT/short.jsonl: those texts of train.jsonl that are short
documents, each a document of its own, for mixing."""
import glob
import html
import json
import os
import re
import sys

COLLECTIONS = {
    "first": {"perl": "perl-doc/**/pod/*.pod", "sqlite": "sqlite3-doc/**/*.html", "git": "git-doc/**/*.txt", "vim": "vim-doc/**/*.html"},
    "second": {"python": "python3.11-doc/**/*.html", "postgresql": "postgresql-doc-15/**/*.html", "linux": "linux-doc-6.1/**/html/[acfnp]*/*.html"},
}
DOCUMENT, REST, SHORTEST, SHORT, JUDGED = 700_000, 100_000, 400, 16_000, 0.15


def plain(page):
    """The text of an HTML page, a paragraph or cell a line."""
    page = re.sub(r"(?is)<(script|style|head|nav)[^>]*>.*?</\1>", " ", page)
    page = re.sub(r"(?i)</?(p|div|h\d|li|tr|pre|br|dt|dd|table|ul|ol)[^>]*>", "\n", page)
    page = html.unescape(re.sub(r"<[^>]+>", "", page))
    return re.sub(r"\n\s*\n+", "\n\n", re.sub(r"[ \t]+", " ", page)).strip()


def texts(root, pattern):
    seen = {}
    for path in sorted(filter(os.path.isfile, glob.glob(os.path.join(root, pattern), recursive=True))):
        with open(path, errors="replace") as f:
            text = f.read()
        text = plain(text) if path.endswith(".html") else text
        if len(text) > SHORTEST:
            seen.setdefault(text)
    return list(seen)


def documents(parts):
    joined = ""
    for p in parts:
        joined += p + "\n\n\n"
        if len(joined) > DOCUMENT:
            yield joined
            joined = ""
    if len(joined) > REST:
        yield joined


def main():
    root, out, which = (sys.argv[1:] + ["first"])[:3]
    os.makedirs(out, exist_ok=True)
    with open(out + "/train.jsonl", "w") as train, open(out + "/eval.jsonl", "w") as judged, open(out + "/short.jsonl", "w") as short:
        for name, pattern in COLLECTIONS[which].items():
            all_of_it = texts(root, pattern)
            cut = int(len(all_of_it) * (1 - JUDGED))
            for part, f in ((all_of_it[:cut], train), (all_of_it[cut:], judged)):
                for d in documents(part):
                    print(json.dumps({"text": d, "source": name}), file=f)
            for d in all_of_it[:cut]:
                if len(d) < SHORT:
                    print(json.dumps({"text": d, "source": name}), file=short)


main()
