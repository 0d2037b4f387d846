"""A checkpoint in bitsandbytes' NF4, as transformers saves it, and the same with the values that its codes stand for."""
import json
import os

import bitsandbytes.functional as B
import torch
from safetensors.torch import load_file, save_file

CONFIG = {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False, "bnb_4bit_quant_type": "nf4",
          "bnb_4bit_compute_dtype": "float32", "bnb_4bit_quant_storage": "uint8"}


def decode(q, state):
    """What codes stand for. bitsandbytes 0.50's own function for a CPU takes blocks for ones of a row, so that it is wrong where
    rows are no multiple of a block long; elsewhere the two must agree."""
    absmax = state.absmax
    if state.nested:
        absmax = B.dequantize_blockwise(absmax, state.state2) + state.offset
    codes = torch.stack([q.flatten() >> 4, q.flatten() & 15], 1).flatten().long()
    values = state.code[codes] * absmax.repeat_interleave(state.blocksize)[:len(codes)]
    values = values.view(state.shape).to(state.dtype)
    if state.shape[1] % state.blocksize == 0:
        assert torch.equal(values, B.dequantize_4bit(q, state))
    return values


def quantise(path, double):
    """Gives the tensors and the config.json that the folder of a model is to have in the end, and leaves in it what they stand
    for: linear layers' matrices decoded, the others rounded to bfloat16."""
    tensors, dense = {}, {}
    for name, w in load_file(path + "/model.safetensors").items():
        w = w.bfloat16()
        if not name.endswith("_proj.weight"):
            tensors[name] = dense[name] = w
            continue
        q, state = B.quantize_4bit(w, blocksize=64, compress_statistics=double, quant_type="nf4")
        tensors[name], dense[name] = q, decode(q, state)
        tensors.update({f"{name}.{k}": v for k, v in state.as_dict(packed=True).items()})
    save_file(dense, path + "/model.safetensors", metadata={"format": "pt"})
    with open(path + "/config.json") as f:
        config = json.load(f)
    return tensors, config | {"dtype": "bfloat16", "quantization_config": CONFIG | {"bnb_4bit_use_double_quant": double}}


def put(path, tensors, config):
    save_file(tensors, path + "/model.safetensors", metadata={"format": "pt"})
    with open(path + "/config.json", "w") as f:
        json.dump(config, f, indent=2, sort_keys=True)
        f.write("\n")
