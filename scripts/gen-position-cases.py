#!/usr/bin/env python3
"""Writes internal/rope/testdata/requests.json: what a config.json says of positions after a request for other ones.

The rule of docs/formats.md in its own words, for every base below under every request: what the base reads, the fields that
change (null: gone), or that the request is refused and which lengths the refusal names. What the changed config computes is
asked of transformers: the inverse frequencies of heads of 16 channels at the request's length, and the factor of cos and sin.
Adapters are the same bases trained at other positions, which training goes on from.
Made with torch 2.15 and transformers 5.17. Run in the repository's root.
"""
import copy
import json
import math
import tempfile
from fractions import Fraction

from transformers import AutoConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

D = 16
SHAPE = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=64, intermediate_size=96, num_hidden_layers=1,
             num_attention_heads=4, vocab_size=320)
L3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
SAID = dict(original_max_position_embeddings=64)


def scaled(m, top={}, **scaling):
    return dict(max_position_embeddings=m, rope_theta=1e4, rope_scaling=scaling, **top)


def parameters(m, top={}, **scaling):
    return dict(max_position_embeddings=m, rope_parameters=dict(rope_theta=5e5, **scaling), **top)


BASES = {
    "plain": dict(max_position_embeddings=64, rope_theta=1e4, rope_scaling=None),
    "bare": dict(max_position_embeddings=64),
    "new": parameters(64, rope_type="default"),
    "unscaled, longer than it was": dict(max_position_embeddings=128, rope_theta=1e6, rope_scaling=None, **SAID),
    "first LLaMA": dict(max_sequence_length=64),
    "linear": scaled(256, SAID, type="linear", factor=4.0),
    "linear in dictionary": scaled(256, rope_type="linear", factor=4.0, **SAID),
    "linear, old length": scaled(64, SAID, type="linear", factor=4.0),
    "linear unsaid": scaled(256, type="linear", factor=4.0),
    "linear new": parameters(256, SAID, rope_type="linear", factor=4.0),
    "linear new unsaid": parameters(256, rope_type="linear", factor=4.0),
    "vicuna": scaled(64, dict(max_sequence_length=256), type="linear", factor=4.0),
    "both say": scaled(256, dict(original_max_position_embeddings=32), type="linear", factor=4.0, **SAID),
    "dictionary before sequence": scaled(256, dict(max_sequence_length=1024), type="linear", factor=4.0, **SAID),
    "longchat": dict(max_position_embeddings=64, max_sequence_length=512, rope_condense_ratio=8),
    "yarn": scaled(256, type="yarn", factor=4.0, finetuned=True, **SAID),
    "yarn new": parameters(256, rope_type="yarn", factor=4.0, beta_fast=24.0, attention_factor=1.25, **SAID),
    "yarn top": scaled(256, SAID, type="yarn", factor=4.0),
    "yarn unsaid": scaled(256, type="yarn", factor=4.0),
    "yarn with a margin": scaled(256, type="yarn", factor=6.0, **SAID),
    "llama3": parameters(512, **L3, **SAID),
    "llama3 old": scaled(512, **L3, **SAID),
    "llama3 unsaid": parameters(512, **L3),
    "llama3 odd": parameters(160, **{**L3, "factor": 2.2}, **SAID),
    "dynamic": scaled(64, type="dynamic", factor=2.0),
    "dynamic said": scaled(64, rope_type="dynamic", factor=2.0, **SAID),
}
REQUESTS = [dict(ctx=c) for c in (48, 64, 200, 256, 257, 640, 1600)]
REQUESTS += [dict(ctx=c, base_ctx=b) for c in (48, 200, 640) for b in (32, 64, 100)]
REQUESTS += [dict(ctx=c, rope=r) for r in ("none", "linear", "ntk", "dynamic", "yarn", "llama3") for c in (48, 640)]
REQUESTS += [dict(ctx=c, factor=f) for c, f in ((48, 4.0), (256, 4.0), (640, 2.5), (640, 16.0))]
REQUESTS += [dict(ctx=640, rope=r, factor=12.0) for r in ("linear", "ntk", "dynamic", "yarn", "llama3")]
REQUESTS += [dict(ctx=640, rope=r, base_ctx=32) for r in ("none", "linear", "ntk", "dynamic", "yarn", "llama3")]
REQUESTS += [dict(ctx=256, rope="linear", factor=4.0, base_ctx=100), dict(ctx=256, rope="yarn", factor=4.0, base_ctx=64)]


class Refused(Exception):
    pass


class Said:
    """What a config says of positions."""

    def __init__(self, c):
        self.c = c
        self.new = c.get("rope_parameters") is not None
        self.dict = (c["rope_parameters"] if self.new else c.get("rope_scaling")) or {}
        self.kind = self.dict.get("rope_type", self.dict.get("type", "default"))
        self.f = self.dict.get("factor", 1.0) if self.kind != "default" else 1.0
        self.theta = self.dict.get("rope_theta", c.get("rope_theta", 1e4))
        if c.get("rope_condense_ratio"):
            self.kind, self.f = "linear", c["rope_condense_ratio"]
        self.keys = [k for k in ("rope_type", "type") if k in self.dict]  # that say the type
        self.m = c.get("max_position_embeddings", c.get("max_sequence_length"))

    def l0(self, base_ctx):
        """The length before any scaling, None where nothing says it."""
        seq = self.c.get("max_sequence_length")
        for n in (base_ctx, self.dict.get("original_max_position_embeddings"), self.c.get("original_max_position_embeddings"),
                  seq and seq / self.f, self.m if self.f == 1 else None):
            if n:
                return int(n)
        return None

    def must_l0(self, base_ctx):
        n = self.l0(base_ctx)
        if n is None:
            raise Refused(f"{self.m} or {int(self.m / self.f)}")
        return n

    def reads(self, base_ctx):
        n = self.l0(base_ctx)
        return self.m if n is None else max(self.m, int(self.f * n))


def exactly(x):
    return Fraction(repr(float(x)))


def ceil_div(a, b):
    return float(math.ceil(Fraction(a) / Fraction(b)))


def want(b, rope, factor, base_ctx, ctx):
    """The type, factor and theta that a request comes to."""
    kind = b.kind if rope == "auto" else {"none": "default"}.get(rope, rope)
    if rope == "auto" and kind == "default":
        kind = "linear"
    if rope == "none":
        return "default", 1.0, b.theta
    if factor is None:
        if kind == "llama3" and b.kind == "llama3":
            factor = ceil_div(exactly(b.f) * ctx, b.m)
        else:
            factor = ceil_div(ctx, b.must_l0(base_ctx))
    if kind == "ntk":
        return "default", 1.0, b.theta * factor ** (D / (D - 2))
    return kind, factor, b.theta


def written(b, kind, factor, theta, l0, m):
    """The config with other positions, in the base's spelling."""
    c = copy.deepcopy(b.c)
    for k in ("original_max_position_embeddings", "max_sequence_length", "rope_condense_ratio", "rope_theta", "rope_scaling",
              "rope_parameters"):
        c.pop(k, None)
    c["max_position_embeddings"] = m
    types = b.keys or (["type"] if not b.new and kind in ("linear", "dynamic") else ["rope_type"])
    d = {k: v for k, v in b.dict.items() if k not in ("type", "rope_type", "rope_theta", "original_max_position_embeddings")}
    if b.kind != kind:
        d = {}
    d.update({k: kind for k in types})
    if kind != "default":
        d["factor"] = factor
    if kind in ("yarn", "llama3"):
        d["original_max_position_embeddings"] = l0
    elif kind in ("linear", "dynamic") and l0:
        c["original_max_position_embeddings"] = l0
    if kind == "llama3":
        d.setdefault("low_freq_factor", 1.0)
        d.setdefault("high_freq_factor", 4.0)
    if b.new:
        c["rope_parameters"] = dict(d, rope_theta=theta)
    else:
        c["rope_theta"] = theta
        c["rope_scaling"] = None if kind == "default" else d
    return c


def asked(b, rope="auto", factor=None, base_ctx=None, ctx=None):
    """The config that the request makes of a base."""
    auto = rope == "auto" and factor is None
    if auto and (ctx <= b.reads(base_ctx) or b.kind == "dynamic"):
        return b.c
    kind, factor, theta = want(b, rope, factor, base_ctx, ctx)
    same = (kind, factor, theta) == (b.kind, b.f, b.theta)
    if same and (kind == "default" or b.l0(base_ctx) == b.l0(None)):
        return b.c
    if kind == "dynamic":
        return written(b, kind, factor, theta, b.l0(base_ctx), b.m)
    return written(b, kind, factor, theta, None if kind == "default" else b.must_l0(base_ctx), ctx)


def gone_on(b, a, rope="auto", factor=None, base_ctx=None, ctx=None):
    """The config that training on from an adapter makes: a is the base as the adapter was trained with it."""
    if a.c == b.c:
        return asked(b, rope, factor, base_ctx, ctx)
    if rope != "auto":  # what the same words say of a base, where the pre-training length is known by the adapter
        stated = a.dict.get("original_max_position_embeddings", a.c.get("original_max_position_embeddings"))
        c = asked(b, rope, factor, base_ctx or stated, ctx)
        n = Said(c)
        same = (n.kind, n.f, n.theta) == (a.kind, a.f, a.theta) and (a.kind in ("default", "dynamic") or n.l0(None) == a.l0(None))
        return a.c if same and (ctx <= a.m or a.kind == "dynamic") else c
    if factor is not None:
        return asked(a, rope, factor, base_ctx, ctx)
    if ctx <= a.m or a.kind == "dynamic":
        return a.c
    kind, factor, theta = want(a, rope, None, base_ctx, ctx)
    if kind == a.kind and base_ctx is None:
        factor = max(factor, a.f)  # a margin is never taken back
    return written(a, kind, factor, theta, a.must_l0(base_ctx), ctx)


def computed(c, ctx):
    with tempfile.TemporaryDirectory() as d:
        with open(d + "/config.json", "w") as f:
            json.dump({**SHAPE, **{k: v for k, v in c.items() if k != "rope_condense_ratio"}}, f)
        r = LlamaRotaryEmbedding(AutoConfig.from_pretrained(d))
    inv = r.inv_freq
    if r.rope_type == "dynamic":
        inv, _ = ROPE_INIT_FUNCTIONS["dynamic"](r.config, seq_len=ctx)
    return [float(f"{float(x):.9g}") for x in inv] + [float(r.attention_scaling)]


def change(was, now):
    return {k: now.get(k) for k in sorted(was.keys() | now.keys()) if was.get(k) != now.get(k) or (k in was) != (k in now)}


def case(name, q, adapter=None):
    b = known = Said(BASES[name])
    out = dict(base=name, request=q)
    go = lambda q: asked(b, **q)
    if adapter:
        a = known = Said(asked(b, **adapter))
        a.keys = b.keys
        out["adapter"] = adapter
        go = lambda q: gone_on(b, a, **q)
    else:
        out["reads"] = b.reads(q.get("base_ctx"))
    try:
        c = go(q)
    except Refused as r:
        return dict(out, refused=str(r))
    out["change"] = change(b.c, c)
    if q.get("base_ctx"):
        try:
            out["idle"] = go({k: v for k, v in q.items() if k != "base_ctx"}) == c and known.l0(None) != q["base_ctx"]
        except Refused:
            out["idle"] = False
    if out["change"]:
        inv = computed(c, q["ctx"])
        out["frequencies"] = frequencies.setdefault(json.dumps(inv), len(frequencies))
    return out


ADAPTERS = [dict(ctx=256, rope="yarn"), dict(ctx=200), dict(ctx=256, rope="ntk"), dict(ctx=640, rope="llama3"), dict(ctx=48, rope="linear", factor=2.0),
            dict(ctx=256, rope="dynamic"), dict(ctx=256, rope="yarn", factor=6.0), dict(ctx=256, rope="none"), dict(ctx=48)]
GO_ON = [dict(ctx=c) for c in (48, 200, 240, 256, 300, 640, 1600)] + [dict(ctx=c, rope=r) for c in (256, 640) for r in ("none", "linear", "ntk", "yarn")]
GO_ON += [dict(ctx=256, factor=8.0), dict(ctx=200, base_ctx=32), dict(ctx=640, base_ctx=32), dict(ctx=640, rope="yarn", base_ctx=32)]
frequencies = {}
cases = [case(n, q) for n in BASES for q in REQUESTS] + [case(n, q, a) for n in ("plain", "linear new") for a in ADAPTERS for q in GO_ON]
with open("internal/rope/testdata/requests.json", "w") as f:
    f.write('{"bases": ' + json.dumps(BASES) + ',\n"frequencies": [\n' + ",\n".join(frequencies) +
            '\n],\n"cases": [\n' + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]}\n")
print(len(cases), "cases,", sum("refused" in c for c in cases), "of them refused")
