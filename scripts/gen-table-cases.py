#!/usr/bin/env python3
"""Writes testdata of internal/data/arrow, csv, parquet and folder: tables as pandas and pyarrow read them.

usage: python3 scripts/gen-table-cases.py

Needs pandas 3 (any since 1.3 reads the same), pyarrow and datasets 5. Run it in the repository's root.

csv.json: the bytes of a .csv, one letter a byte, and the columns and rows that pandas makes of it with every cell as
text. *.arrow, *.feather: Arrow files of every layout that text and conversations come in, and rows.json: the rows that
pyarrow reads from each, every value as JSON in a string. *.parquet: files as pyarrow writes them. saved, splits: what
datasets' save_to_disk writes.
"""
import io
import json
import os
import shutil

os.environ["HF_HUB_OFFLINE"] = "1"
import datasets  # noqa: E402
import pandas as pd  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from pyarrow import feather  # noqa: E402

DATA = "internal/data/"
ARROW, PANDAS, PARQUET, SAVED = (DATA + name + "/testdata" for name in ("arrow", "csv", "parquet", "folder"))
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

for out in (ARROW, PANDAS, PARQUET, SAVED):
    os.makedirs(out, exist_ok=True)
cases = []
for name, raw in CSV.items():
    d = pd.read_csv(io.BytesIO(raw), dtype=str)
    assert list(d.index) == list(range(len(d))), name
    rows = [[None if pd.isna(v) else v for v in r] for r in d.values.tolist()]
    cases.append({"name": name, "csv": raw.decode("latin-1"), "columns": list(d.columns), "rows": rows})
with open(PANDAS + "/csv.json", "w", encoding="utf-8") as f:
    f.write('{"made_by": "pandas %s",\n "cases": [\n' % pd.__version__)
    f.write(",\n".join(json.dumps(c, ensure_ascii=True) for c in cases) + "\n ]}\n")
print(len(cases), "cases")

# Arrow
LONG = "twelve bytes and more, so that a view points elsewhere"
TEXTS = ["one", None, "", LONG, "日本 \U0001f642", "x" * 12, "y" * 13]
N = len(TEXTS)
TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string()), ("weight", pa.int64())]))
CHATS = [[{"role": "user", "content": t, "weight": None}, {"role": "assistant", "content": "a", "weight": i}] for i, t in enumerate(TEXTS)]
CHATS[2], CHATS[3] = [], None


def dictionary(values, index):
    return pa.array(values).dictionary_encode().cast(pa.dictionary(index, pa.string()))


COLUMNS = {
    "text": pa.array(TEXTS), "large": pa.array(TEXTS, pa.large_string()), "view": pa.array(TEXTS, pa.string_view()),
    "bytes": pa.array([None if t is None else t.encode()[:4] for t in TEXTS], pa.binary()),
    "bytes_view": pa.array([None if t is None else t.encode() for t in TEXTS], pa.binary_view()),
    "fixed": pa.array([b"abc", None, b"\xff\xfea"] + [b"abc"] * (N - 3), pa.binary(3)),
    "none": pa.nulls(N), "yes": pa.array([True, None, False, True, True, False, True]),
    "i8": pa.array([-128, None, 127, 0, 1, 2, 3], pa.int8()), "u16": pa.array([65535, None, 0, 1, 2, 3, 4], pa.uint16()),
    "i32": pa.array([-1, None, 2, 3, 4, 5, 6], pa.int32()), "u64": pa.array([2**64 - 1, None, 0, 1, 2, 3, 4], pa.uint64()),
    "half": pa.array([1.5, None, -65504.0, 2**-24, 0.0, 0.25, -2**-14], pa.float16()), "f32": pa.array([0.5, None, -2.0, 0.0, 1e10, 3.0, 4.0], pa.float32()),
    "f64": pa.array([0.1, None, -1e300, 1e-7, float("nan"), 1e16, 2.0]),
    "chat": pa.array(CHATS, TURNS), "large_list": pa.array(CHATS, pa.large_list(TURNS.value_type)),
    "pairs": pa.array([["a", "b"], None, [None, "c"], ["d", "e"], ["", ""], ["f", LONG], ["g", "h"]], pa.list_(pa.string(), 2)),
    "deep": pa.array([[[1], [], None], None, [], [[2, 3]], [[None]], [[4]], [[5]]], pa.list_(pa.list_(pa.int64()))),
    "struct": pa.array([{"a": 1, "b": {"c": ["x"]}}, None] + [{"a": None, "b": {"c": None}}] * (N - 2)),
    "named": dictionary(["red", None, "red", "blue", "", "red", LONG], pa.int32()), "small": dictionary(["p", "q", None, "p", "q", "p", "r"], pa.uint8()),
    "in_list": pa.array([["a", "b"], None, ["a"], [], ["c"], ["b"], ["a"]], pa.list_(pa.dictionary(pa.int32(), pa.string()))),
    "when": pa.array([1, None, 2, 3, 4, 5, 6], pa.timestamp("s")), "day": pa.array([1, None, 2, 3, 4, 5, 6], pa.date32()), "length": pa.array(range(N), pa.duration("ms")),
}
HARD = {  # types that are passed over where nobody wants them
    "decimal": pa.array([None] * N, pa.decimal128(5, 2)), "map": pa.array([[("k", "v")]] * N, pa.map_(pa.string(), pa.string())),
    "union": pa.UnionArray.from_sparse(pa.array([0] * N, pa.int8()), [pa.array(range(N)), pa.array(TEXTS)]),
    "dense": pa.UnionArray.from_dense(pa.array([0] * N, pa.int8()), pa.array(range(N), pa.int32()), [pa.array(range(N)), pa.array(TEXTS)]),
    "runs": pa.RunEndEncodedArray.from_arrays(pa.array([2, N], pa.int32()), pa.array(["a", "b"])), "months": pa.array([None] * N, pa.month_day_nano_interval()),
    "list_view": pa.array(CHATS, pa.list_view(TURNS.value_type)),
}
ALL = pa.table(COLUMNS)
NUMBERS = {"when": pa.int64(), "day": pa.int32(), "length": pa.int64()}


def plain(v):
    return v.decode("utf-8", "replace") if isinstance(v, bytes) else v


def rows(table, names):
    columns = []
    for n in names:
        c = table[n]
        c = c.cast(NUMBERS[n]) if n in NUMBERS else c
        columns.append([json.dumps(plain(v), ensure_ascii=False) for v in c.to_pylist()])
    return [list(r) for r in zip(*columns)]


cases = []


def case(name, table, write, names=None):
    path = ARROW + "/" + name
    write(path)
    cases.append({"file": name, "columns": names or table.column_names, "rows": rows(table, names or table.column_names)})


def stream(table, size=None, **options):
    def write(path):
        with pa.OSFile(path, "wb") as f, pa.ipc.new_stream(f, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as w:
            w.write_table(table, max_chunksize=size)
    return write


def in_file(table, size=None, **options):
    def write(path):
        with pa.OSFile(path, "wb") as f, pa.ipc.new_file(f, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as w:
            w.write_table(table, max_chunksize=size)
    return write


case("stream.arrow", ALL, stream(ALL))
case("batches.arrow", ALL, stream(ALL, 3))
case("file.arrow", ALL, in_file(ALL, 3))
case("zstd.arrow", ALL, stream(ALL, compression="zstd"))
case("lz4.feather", ALL, lambda path: feather.write_feather(ALL, path, compression="lz4", chunksize=4))
case("sliced.arrow", ALL.slice(1, 4), stream(ALL.slice(1, 4)))
OLD = ALL.select(["text", "chat", "named"])
case("old.arrow", OLD, stream(OLD, use_legacy_format=True, metadata_version=pa.ipc.MetadataVersion.V4))
MIXED = pa.table({**HARD, "text": COLUMNS["text"]})
case("hard.arrow", MIXED, stream(MIXED), ["text"])
PARTS = pa.table({"named": pa.chunked_array([dictionary(["a", "b"], pa.int32()), dictionary(["a", "b", "c"], pa.int32()), dictionary(["z", "y"], pa.int32())])})
case("replaced.arrow", PARTS, stream(PARTS))
DELTA = PARTS.slice(0, 5)
case("delta.arrow", DELTA, stream(DELTA, emit_dictionary_deltas=True))
case("delta-file.arrow", DELTA, in_file(DELTA, emit_dictionary_deltas=True))
BIG = pa.table({"text": pa.array([LONG * 20, LONG * 30] * 2)})
case("big.arrow", BIG, stream(BIG, compression="zstd"))

# Small files that claim much: rows, and elements of a list, that take no room
for name, column in {"rows": pa.nulls(1 << 33), "list": pa.FixedSizeListArray.from_arrays(pa.nulls(1 << 30), 1 << 30)}.items():
    claim = pa.table({"text" if name == "rows" else "messages": column})
    stream(claim, allow_64bit=True)(ARROW + "/claims-%s.arrow" % name)

# Parquet: groups without rows, none at all, and two columns of one name
def texts(*of):
    return pa.table({"text": pa.array(of, pa.string())})


with pq.ParquetWriter(PARQUET + "/groups.parquet", texts().schema) as w:
    for group in (texts(), texts("one"), texts(), texts("two")):
        w.write_table(group)
pq.write_table(texts(), PARQUET + "/none.parquet")
pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), PARQUET + "/twice.parquet")

# What datasets writes
for name in ("saved", "splits"):
    shutil.rmtree(SAVED + "/" + name, ignore_errors=True)
two = datasets.Dataset.from_list([{"text": "one", "n": 1}, {"text": "two", "n": 2}, {"text": "three", "n": 3}])
two.save_to_disk(SAVED + "/saved", num_shards=2)
with open(SAVED + "/saved/cache-0123456789abcdef.arrow", "wb") as f:  # what map and filter leave beside
    f.write(open(SAVED + "/saved/data-00000-of-00002.arrow", "rb").read())
shutil.copy(SAVED + "/saved/data-00000-of-00002.arrow", ARROW + "/plain.arrow")
datasets.DatasetDict(train=two.select([0]), test=two.select([1]), extra=two.select([2])).save_to_disk(SAVED + "/splits")

with open(ARROW + "/rows.json", "w", encoding="utf-8") as f:
    f.write('{"made_by": "pyarrow %s, datasets %s",\n "cases": [\n' % (pa.__version__, datasets.__version__))
    f.write(",\n".join(json.dumps(c, ensure_ascii=False) for c in cases) + "\n ]}\n")
print(len(cases), "Arrow cases")
