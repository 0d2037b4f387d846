#!/usr/bin/env python3
"""Writes internal/data/testdata/tables: tables as pandas reads them.

usage: python3 scripts/gen-table-cases.py

Needs pandas 3 (any since 1.3 reads the same). Run it in the repository's root. A case is the bytes of a .csv, one
letter a byte, and the columns and rows that pandas makes of it with every cell as text, as Hugging Face's datasets does.
"""
import io
import json
import os

import pandas as pd

OUT = "internal/data/testdata/tables"
CSV = {
    "plain": b"text,b\na,b\nc,d\n",
    "no last newline": b"text,b\na,b",
    "crlf": b"text,b\r\na,b\r\nc,d\r\n",
    "cr alone": b"text,b\ra,b\rc,d\r",
    "cr and crlf": b"text,b\r\na,b\rc,d\n\re,f\r\n\r\n",
    "quoted line ends": b'text,b\r\n"a\r\nb",c\n"d\ne",f\r\n"g\rh",i\n',
    "quotes": b'text,b\n"a ""q"" b","c, d"\n"",""""\n"""x""",y\n',
    "quotes inside": b'text,b\n5" disk,"x"y\n"ab"cd"e,f\na "b, c" d\n',
    "quotes at the end": b'text,b\na,"b"',
    "space before a quote": b'text,b\na, "b"\n',
    "blank lines": b"\n\ntext,b\n\na,b\n   \n\t\nc,d\n\n\n",
    "blank lines of one column": b'text\na\n\n  \n""\n"  "\nb\n',
    "spaces": b"text,b\n  a  ,\tb \n , \n",
    "head with spaces": b" text ,b\na,b\n",
    "head in quotes": b'"te,xt","b""c"\na,b\n',
    "empty cells": b'text,b\n,\n"",a\nb,""\n,""\n',
    "no value": b'text,b\nNA,"NA"\nnull,NULL\nNone,none\nNaN,nan\n#N/A,N/A\nn/a,<NA>\n-nan,-NaN\n"#NA","#N/A N/A"\n-1.#IND,1.#QNAN\n',
    "nearly no value": b"text,b\n NA,NA \nNone.,na\nnil,Null\n-,?\n",
    "numbers and truth": b"text,b\n007,1.0\n1e5,True\n-0,\xe2\x88\x921\n",
    "columns twice": b"x,x,b,x,x\n1,2,3,4,5\n",
    "columns without a name": b",text,\n0,a,b\n1,c,d\n",
    "utf-8": '\ufefftext,b\nä,日本\n\U0001f642,\u2028\n'.encode(),
    "mark and a quote": '\ufeff"te xt",b\na,b\n'.encode(),
    "controls": b"text,b\na\x0bb,c\x0cd\ne\x00f,\x1c\n",
    "json": b'text,b\n"[{""role"": ""user"", ""content"": ""a\\n""}]",x\n',
}

os.makedirs(OUT, exist_ok=True)
cases = []
for name, raw in CSV.items():
    d = pd.read_csv(io.BytesIO(raw), dtype=str)
    assert list(d.index) == list(range(len(d))), name
    rows = [[None if pd.isna(v) else v for v in r] for r in d.values.tolist()]
    cases.append({"name": name, "csv": raw.decode("latin-1"), "columns": list(d.columns), "rows": rows})
with open(OUT + "/csv.json", "w", encoding="utf-8") as f:
    f.write('{"made_by": "pandas %s",\n "cases": [\n' % pd.__version__)
    f.write(",\n".join(json.dumps(c, ensure_ascii=True) for c in cases) + "\n ]}\n")
print(len(cases), "cases")
