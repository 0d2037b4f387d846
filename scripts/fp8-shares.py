#!/usr/bin/env python3
"""What each part of --weights fp8 costs a model in perplexity, without any training: weights, activations, both, and of single kinds of matrices.

  fp8-shares.py MODEL DATA.bin [--windows 6] [--length 1024]

MODEL is a LLaMA-like checkpoint of the blocks of which matrices and what is multiplied with them are rounded to e4m3 with a factor for
each row, as `--weights fp8` does it, and multiplied in float32; DATA.bin the tokens that `longlora prepare` wrote. The same windows,
evenly spread, for every line, so that differences of a tenth of a percent show. Needs torch and transformers; runs on a CPU."""
import argparse
import math

import numpy as np
import torch
from transformers import AutoModelForCausalLM

LARGEST = 448  # of e4m3fn
PARTS = {"q, k, v": ("q_proj", "k_proj", "v_proj"), "o": ("o_proj",), "gate, up": ("gate_proj", "up_proj"), "down": ("down_proj",)}


def narrowed(x):
    """Each row rounded to e4m3 by a factor of its own, in float32 again."""
    factor = x.abs().amax(-1, keepdim=True).clamp(min=1e-30) / LARGEST
    return (x / factor).to(torch.float8_e4m3fn).float() * factor


def loss(model, linears, given, windows, weights, activations):
    """The mean loss over the windows with the weights and activations of the matrices of these kinds narrowed."""
    hooks, total = [], 0
    for name, linear in linears.items():
        kind = name.split(".")[-1]
        linear.weight.data = narrowed(given[name]) if kind in weights else given[name]
        if kind in activations:
            hooks.append(linear.register_forward_pre_hook(lambda _, a: (narrowed(a[0]),)))
    with torch.no_grad():
        for w in windows:
            logits = model(w[None]).logits[0, :-1]
            total += torch.nn.functional.cross_entropy(logits.float(), w[1:]).item()
    for h in hooks:
        h.remove()
    return total / len(windows)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("data")
    p.add_argument("--windows", type=int, default=6)
    p.add_argument("--length", type=int, default=1024)
    a = p.parse_args()
    model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32).eval()
    ids = torch.from_numpy(np.fromfile(a.data, np.uint16 if model.config.vocab_size <= 1 << 16 else np.uint32).astype(np.int64))
    windows = [ids[s : s + a.length] for s in np.linspace(0, len(ids) - a.length, a.windows).astype(int)]
    linears = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n.endswith("_proj")}
    given = {n: m.weight.data.clone() for n, m in linears.items()}
    every = [k for kinds in PARTS.values() for k in kinds]
    rows = [("as they are", (), ()), ("weights", every, ()), ("activations", (), every), ("both", every, every)]
    rows += [("weights of " + n, kinds, ()) for n, kinds in PARTS.items()]
    rows += [("activations of " + n, (), kinds) for n, kinds in PARTS.items()]
    first = None
    for name, weights, activations in rows:
        got = loss(model, linears, given, windows, weights, activations)
        first = got if first is None else first
        print(f"{name:24} perplexity {math.exp(got):.3f}  {100 * math.expm1(got - first):+.2f} %", flush=True)


if __name__ == "__main__":
    main()
