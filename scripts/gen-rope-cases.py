#!/usr/bin/env python3
"""Writes internal/rope/testdata/spellings.json: how transformers reads positions in the spellings that config.json has had.

Of each: the config's fields, max_position_embeddings as transformers fills it in, the inverse frequencies of heads of 16
channels and the factor of cos and sin; null where transformers refuses it. Made with torch 2.15 and transformers 5.17.
Run in the repository's root.
"""
import json
import tempfile

from transformers import AutoConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

BASE = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=64, intermediate_size=96, num_hidden_layers=1,
            num_attention_heads=4, vocab_size=320, max_position_embeddings=128)
LINEAR = {"type": "linear", "factor": 4.0}
YARN = {"type": "yarn", "factor": 4.0}
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
MISTRAL = dict(model_type="mistral", architectures=["MistralForCausalLM"])
GONE = "gone"  # the field is left out

CASES = [
    {}, dict(rope_scaling=None, rope_theta=500000.0), dict(rope_theta=1000000), dict(rope_scaling={}), dict(rope_parameters={}),
    dict(rope_parameters=None, rope_theta=5e5), dict(rope_scaling=LINEAR), dict(rope_scaling={"rope_type": "linear", "factor": 4}),
    dict(rope_scaling={**LINEAR, "rope_type": "linear"}), dict(rope_scaling={"factor": 4.0}),
    dict(rope_scaling={"type": "default", "factor": 4.0}), dict(rope_parameters={**LINEAR, "rope_theta": 1e4}),
    dict(rope_theta=5e5, rope_parameters={"rope_type": "linear", "factor": 4.0}),
    dict(rope_theta=5e5, rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}),
    dict(rope_theta=1e6, rope_scaling={**LINEAR, "rope_theta": 5e5}), dict(rope_parameters={}, rope_scaling=LINEAR),
    dict(rope_scaling={"type": "dynamic", "factor": 2.0}), dict(rope_scaling=YARN),
    dict(rope_scaling={**YARN, "original_max_position_embeddings": 32, "finetuned": True}),
    dict(original_max_position_embeddings=32, rope_scaling=YARN), dict(rope_theta=25000.0, rope_scaling=YARN),
    dict(rope_scaling={**YARN, "attention_factor": None, "beta_fast": None, "beta_slow": None}),
    dict(rope_scaling={**YARN, "attention_factor": 1.5}), dict(rope_scaling={**YARN, "mscale": 0.707, "mscale_all_dim": 0.9}),
    dict(rope_scaling={**YARN, "truncate": False}),
    dict(rope_theta=20.0, rope_scaling={**YARN, "original_max_position_embeddings": 2300}),  # the ramp ends behind the head
    dict(rope_scaling={"type": "yarn", "factor": 0.5}), dict(rope_scaling={"type": "yarn", "factor": 1.0}),
    dict(rope_theta=5e5, rope_scaling={**LLAMA3, "rope_type": "llama3", "original_max_position_embeddings": 32}),
    dict(rope_theta=5e5, rope_scaling={**LLAMA3, "type": "llama3", "original_max_position_embeddings": 32}),
    dict(original_max_position_embeddings=32, rope_scaling={**LLAMA3, "rope_type": "llama3"}),
    dict(rope_scaling={**LINEAR, "original_max_position_embeddings": 32}), dict(rope_scaling={"type": "linear", "factor": 0.5}),
    dict(max_position_embeddings=GONE), dict(max_position_embeddings=GONE, rope_scaling=YARN),
    dict(MISTRAL, max_position_embeddings=GONE, rope_scaling=YARN),
    dict(rope_parameters={"full_attention": {"rope_type": "default", "rope_theta": 1e4}}),
    # refused
    dict(rope_scaling={"type": "ntk", "factor": 4.0}), dict(rope_scaling={"type": "su", "short_factor": [1.0], "long_factor": [2.0]}),
    dict(rope_scaling=[4.0]), dict(rope_scaling="linear"), dict(rope_scaling={"type": "linear", "factor": "4"}), dict(rope_scaling={"type": "Linear", "factor": 4.0}),
    dict(rope_scaling={"type": "linear"}), dict(rope_scaling={"type": "linear", "factor": None}), dict(rope_theta="10000"),
]


def read(change):
    fields = {k: v for k, v in {**BASE, **change}.items() if v != GONE}
    with tempfile.TemporaryDirectory() as d:
        with open(d + "/config.json", "w") as f:
            json.dump(fields, f)
        try:
            c = AutoConfig.from_pretrained(d)
            r = LlamaRotaryEmbedding(c)
        except Exception:  # of many kinds, some from deep inside
            return dict(config=fields, inv=None)
    return dict(config=fields, max_position_embeddings=c.max_position_embeddings, inv=[float(x) for x in r.inv_freq], scale=float(r.attention_scaling))


with open("internal/rope/testdata/spellings.json", "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(read(c)) for c in CASES) + "\n]\n")
