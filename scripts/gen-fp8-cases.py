#!/usr/bin/env python3
"""Writes internal/quant/testdata/fp8.json: e4m3fn as PyTorch has it. Every float, what values round to, and matrices
encoded with a factor a row.

    pip install torch==2.15.0
    python scripts/gen-fp8-cases.py
"""
import base64
import json
import pathlib

import torch

MOST = torch.finfo(torch.float8_e4m3fn).max


def b64(t):
    return base64.b64encode(t.contiguous().view(torch.uint8).numpy().tobytes()).decode()


def rows(what, w):
    most = w.float().abs().amax(dim=1, keepdim=True)
    scale = torch.where(most == 0, torch.ones_like(most), most / MOST)
    codes = (w.float() / scale).to(torch.float8_e4m3fn)
    return {"what": what, "shape": list(w.shape), "weights": b64(w.float()), "data": b64(codes), "absmax": b64(scale),
            "values": b64(codes.float() * scale)}


def main():
    floats = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    up = floats[:0x7f]                                          # 0 to the largest
    middle = (up[1:].double() + up[:-1].double()) / 2           # ties
    near = torch.cat([middle.float(), torch.nextafter(middle.float(), torch.tensor(0.0)),
                      torch.nextafter(middle.float(), torch.tensor(1e9)), up])
    near = torch.cat([near, -near])
    g = torch.Generator().manual_seed(1)
    rand = lambda *shape: torch.randn(*shape, generator=g)
    zeros = rand(5, 40)
    zeros[1], zeros[4] = 0, 0
    cases = {"floats": b64(floats), "near": b64(near), "codes": b64(near.to(torch.float8_e4m3fn)), "rows": [
        rows("normal", 0.02 * rand(12, 96)),
        rows("bfloat16", rand(7, 65).to(torch.bfloat16)),
        rows("rows of zeros", zeros),
        rows("far apart within a row", rand(6, 64) * 10.0 ** torch.linspace(-6, 3, 64)),
        rows("far apart by row", rand(16, 33) * 10.0 ** torch.linspace(-30, 30, 16)[:, None]),
        rows("one column", rand(9, 1)),
        rows("one large", torch.cat([rand(3, 31) * 1e-3, torch.full((3, 1), 3e38)], 1)),
    ]}
    path = pathlib.Path(__file__).resolve().parent.parent / "internal/quant/testdata/fp8.json"
    path.write_text(json.dumps(cases, indent=1) + "\n")


main()
