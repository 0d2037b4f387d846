"""The case of more than 65,536 tokens, whose ids take four bytes. Its weights would be the largest file of the tree, so they
are a formula, which the test that reads the case computes too: a hash of the element's number, scaled and shifted."""
import json
import os

import numpy as np
import torch
import transformers

VOCAB, CTX = 70001, 53


def values(n, salt):
    """n numbers in [-0.5, 0.5), exact in float32: 16 bits of Knuth's multiplicative hash."""
    i = (np.arange(n, dtype=np.uint64) + np.uint64(salt * 7919)) * np.uint64(2654435761) % np.uint64(1 << 32)
    return ((i >> np.uint64(16)).astype(np.float64) / 65536 - 0.5).astype(np.float32)


def make(out):
    os.makedirs(out)
    config = transformers.LlamaConfig(vocab_size=VOCAB, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
                                      num_key_value_heads=1, max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=True,
                                      bos_token_id=1, eos_token_id=2)
    m = transformers.LlamaForCausalLM(config)
    names = sorted(name for name, _ in m.named_parameters())
    with torch.no_grad():
        for name, p in m.named_parameters():
            v = torch.from_numpy(values(p.numel(), names.index(name))).reshape(p.shape)
            p.copy_(1 + v if p.dim() == 1 else v)
    ids = torch.from_numpy(((values(CTX, 1000).astype(np.float64) + 0.5) * VOCAB).astype(np.int64))
    loss = torch.nn.functional.cross_entropy(m(input_ids=ids[None]).logits[0, :-1].double(), ids[1:])
    with open(out + "/expected.json", "w") as f:
        json.dump({"ctx": CTX, "tensors": names, "config": {k: getattr(config, k) for k in (
            "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
            "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings", "bos_token_id", "eos_token_id")}, "loss.full": loss.item()}, f, indent=1)
        f.write("\n")
