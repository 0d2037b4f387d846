#!/usr/bin/env python3
"""Writes internal/quant/testdata/nf4.json: matrices as bitsandbytes encodes and decodes them, on a CPU.

    pip install torch==2.15.0 bitsandbytes==0.50.2
    python scripts/gen-nf4-cases.py
"""
import base64
import json
import pathlib

import bitsandbytes.functional as F
import torch


def b64(t):
    return base64.b64encode(t.contiguous().view(torch.uint8).numpy().tobytes()).decode()


def case(what, w, block, double):
    q, s = F.quantize_4bit(w, blocksize=block, compress_statistics=double, quant_type="nf4")
    c = {"what": what, "shape": list(w.shape), "dtype": str(w.dtype).removeprefix("torch."), "block": block, "weights": b64(w),
         "data": b64(q), "map": b64(s.code), "absmax": b64(s.absmax), "values": b64(F.dequantize_4bit(q, s))}
    if double:
        c |= {"nested": s.state2.blocksize, "nested_map": b64(s.state2.code), "nested_absmax": b64(s.state2.absmax), "offset": s.offset.item()}
    return c


def main():
    torch.set_num_threads(1)  # on which the order of a long sum depends
    g = torch.Generator().manual_seed(1)
    rand = lambda *shape: torch.randn(*shape, generator=g)
    cases = []
    for double in (False, True):
        for dtype in (torch.bfloat16, torch.float16, torch.float32):
            cases.append(case("normal", rand(24, 128).to(dtype), 64, double))
        cases.append(case("rows that blocks do not end with", rand(6, 100).to(torch.bfloat16), 64, double))
        cases.append(case("large blocks", rand(8, 256).to(torch.bfloat16), 256, double))
        zeros = rand(4, 64)
        zeros[1] = 0
        cases.append(case("a block of zeros", zeros.to(torch.bfloat16), 64, double))
        cases.append(case("far apart", (rand(16, 64) * 10.0 ** torch.linspace(-7, 4, 16)[:, None]).to(torch.float16), 64, double))
        cases.append(case("tiny", (rand(4, 64) * 1e-40), 64, double))
    cases.append(case("many blocks", (0.02 * rand(300, 64)).to(torch.bfloat16), 64, True))
    for double in (False, True):
        for dtype in (torch.bfloat16, torch.float16, torch.float32):
            cases.append(case("an odd number of elements", rand(7, 29).to(dtype), 64, double))
        cases.append(case("zeros alone, a block not full", torch.zeros(3, 50, dtype=torch.bfloat16), 64, double))
        cases.append(case("small blocks", rand(5, 50).to(torch.float32), 32, double))
    path = pathlib.Path(__file__).resolve().parent.parent / "internal/quant/testdata/nf4.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")


main()
