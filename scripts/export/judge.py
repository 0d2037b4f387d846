"""Holds `longlora export` to llama.cpp: python judge.py LONGLORA [NAME…]

Small random models of every family, with the positions that llama.cpp computes, are made with transformers, exported,
and read by two judges: the gguf package, which must find every tensor as it was written, and llama.cpp itself
(llama-cpp-python), which must give the same token ids, perplexity and greedy tokens. judge.sh installs both, pinned.
"""

import gc
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import gguf
import numpy as np
import torch
import transformers
from llama_cpp import Llama
from tokenizers import Tokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
CASES = ROOT / "internal/tokenizer/testdata/cases"
LONGLORA = os.path.abspath(sys.argv[1])
ONLY = sys.argv[2:]
BASE, EXTENDED = 256, 512  # llama.cpp makes room for a multiple of 256
torch.set_num_threads(1)
transformers.utils.logging.disable_progress_bar()
faults = []


def say(name, ok, what):
    print(f"{'ok   ' if ok else 'FAULT'} {name}: {what}", flush=True)
    if not ok:
        faults.append(name)


def run(*args, want=0):
    p = subprocess.run([LONGLORA, *map(str, args)], capture_output=True, text=True, env=os.environ | {"CI": "1"})
    if p.returncode != want:
        raise RuntimeError(f"{' '.join(map(str, args))}: exit {p.returncode}\n{p.stdout}{p.stderr}")
    return p.stdout


LLAMA3 = dict(rope_type="llama3", factor=2.0, low_freq_factor=1.0, high_freq_factor=2.0, original_max_position_embeddings=BASE)
LINEAR = dict(rope_type="linear", factor=2.0)
YARN = dict(rope_type="yarn", factor=2.0, original_max_position_embeddings=BASE)
ODD_YARN = dict(YARN, beta_fast=16.0, beta_slow=2.0, attention_factor=1.3)
LONG = dict(rope_type="longrope", factor=2.0, original_max_position_embeddings=BASE,
            short_factor=[1.0 + 0.01 * i for i in range(8)], long_factor=[1.0 + 0.4 * i for i in range(8)])

# name: (class, positions, own fields)
MODELS = {
    "llama": ("Llama", {}, {}),
    "llama-linear": ("Llama", LINEAR, dict(tie_word_embeddings=True)),
    "llama-llama3": ("Llama", LLAMA3, dict(head_dim=32)),
    "llama-yarn": ("Llama", YARN, {}),
    "llama-odd-yarn": ("Llama", ODD_YARN, {}),
    "llama-bias": ("Llama", {}, dict(attention_bias=True, mlp_bias=True)),
    "mistral": ("Mistral", LINEAR, dict(sliding_window=None)),
    "qwen2": ("Qwen2", {}, {}),
    "qwen2-yarn": ("Qwen2", YARN, dict(tie_word_embeddings=True)),
    "qwen3": ("Qwen3", YARN, dict(head_dim=32)),
    "phi3": ("Phi3", {}, dict(pad_token_id=0)),
    "phi3-longrope": ("Phi3", LONG, dict(pad_token_id=0, original_max_position_embeddings=BASE)),
    "granite": ("Granite", LLAMA3, dict(embedding_multiplier=12.0, attention_multiplier=0.2, residual_multiplier=0.22,
                                        logits_scaling=4.0)),
    "smollm3": ("SmolLM3", YARN, dict(num_hidden_layers=4, no_rope_layers=[1, 1, 1, 0], pad_token_id=0)),
    "olmo2": ("Olmo2", LINEAR, dict(num_key_value_heads=4)),
    "gptneox": ("GPTNeoX", LINEAR, dict(hidden_act="gelu_pytorch_tanh", rotary_pct=0.5)),
    "gptneox-serial": ("GPTNeoX", {}, dict(hidden_act="gelu", rotary_pct=0.25, use_parallel_residual=False)),
    "gemma2": ("Gemma2", LINEAR, dict(num_hidden_layers=4, head_dim=32, query_pre_attn_scalar=32, sliding_window=48)),
    "gemma2-scalar": ("Gemma2", {}, dict(head_dim=32, query_pre_attn_scalar=24, sliding_window=48)),
}


def make(name, d, dtype, vocab):
    kind, rope, own = MODELS[name]
    cfg = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
               vocab_size=vocab, max_position_embeddings=EXTENDED if rope else BASE, initializer_range=0.2,
               bos_token_id=1, eos_token_id=2)
    if kind == "GPTNeoX":
        cfg.pop("num_key_value_heads")
    cfg |= own
    theta = 10000.0
    cfg["rope_parameters"] = dict(rope or dict(rope_type="default"), rope_theta=theta)
    if kind == "GPTNeoX":
        cfg["rope_parameters"]["partial_rotary_factor"] = cfg["rotary_pct"]
    torch.manual_seed(len(name))
    model = getattr(transformers, kind + "ForCausalLM")(getattr(transformers, kind + "Config")(**cfg)).float()
    with torch.no_grad():
        for n, p in model.named_parameters():
            if p.ndim == 1:
                p.add_(0.1 * torch.randn_like(p))
    model = model.to(dtype).eval()
    model.save_pretrained(d)
    return model.float()


def expected(model, arch):
    """llama.cpp's tensors by its own converter's rules, written out again here."""
    c, out = model.config, {}
    names = {"embed_tokens": "token_embd", "embed_in": "token_embd", "lm_head": "output", "embed_out": "output",
             "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
             "self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up", "mlp.gate_proj": "ffn_gate",
             "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
             "post_attention_layernorm": "ffn_norm", "attention.query_key_value": "attn_qkv",
             "attention.dense": "attn_output", "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down",
             "norm": "output_norm", "final_layer_norm": "output_norm", "post_feedforward_layernorm": "post_ffw_norm",
             "pre_feedforward_layernorm": "ffn_norm"}
    if arch in ("olmo2", "gemma2"):
        names["post_attention_layernorm"] = "post_attention_norm"
    tied = c.tie_word_embeddings
    for n, p in model.state_dict().items():
        if tied and n in ("lm_head.weight", "embed_out.weight"):
            continue
        x, parts = p.detach().numpy(), n.removeprefix("model.").removeprefix("gpt_neox.").split(".")
        end = parts.pop()
        where = ""
        if parts[0] == "layers":
            where, parts = f"blk.{parts[1]}.", parts[2:]
        key = names[".".join(parts)]
        if arch in ("llama", "granite", "smollm3") and key in ("attn_q", "attn_k"):
            heads = c.num_attention_heads if key == "attn_q" else c.num_key_value_heads
            x = x.reshape(heads, 2, -1, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)
        if arch == "gptneox" and key == "attn_qkv":
            y = x.reshape(c.num_attention_heads, 3, -1, *x.shape[1:])
            x = np.concatenate([y[:, i].reshape(-1, *x.shape[1:]) for i in range(3)])
        if arch == "gemma2" and key == "attn_q" and c.query_pre_attn_scalar != c.head_dim:
            x = x * np.float32(float(np.float32(1 / c.query_pre_attn_scalar**0.5)) * c.head_dim**0.5)
        if arch == "gemma2" and key.endswith("norm"):
            x = x + 1
        out[f"{where}{key}.{end}"] = x
    return out


def read_back(name, path, model):
    r = gguf.GGUFReader(path)
    arch = r.get_field("general.architecture").contents()
    want, got = expected(model, arch), {}
    for t in r.tensors:
        got[t.name] = gguf.quants.dequantize(t.data, t.tensor_type) if t.tensor_type != 0 else t.data
        if t.tensor_type == gguf.GGMLQuantizationType.Q8_0:
            want[t.name] = gguf.quants.dequantize(gguf.quants.quantize(want[t.name], t.tensor_type), t.tensor_type)
        if t.tensor_type == gguf.GGMLQuantizationType.F16:
            want[t.name] = want[t.name].astype(np.float16).astype(np.float32)
        if t.name in want and want[t.name].ndim == 1 and t.tensor_type != 0:
            return say(name, False, f"{t.name} is of type {t.tensor_type.name}")
    extra = set(got) - set(want)
    bad = [n for n in want if n not in got or not np.array_equal(got[n].reshape(want[n].shape), want[n])]
    say(name, not bad and extra <= {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"},
        f"gguf reads {len(got)} tensors of {arch} back, other than written: {bad}, beyond them: {sorted(extra)}")


def load(path, ctx, **more):
    return Llama(str(path), n_ctx=ctx, n_batch=ctx, n_ubatch=ctx, logits_all=True, type_k=0, type_v=0, n_threads=1,
                 n_threads_batch=1, verbose=False, **more)


def loss(logits, ids):
    x = torch.log_softmax(torch.tensor(logits[:-1], dtype=torch.float64), -1)
    return float(-x[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].mean())


def judge_model(name, work):
    d = work / name
    tok = CASES / ("llama3" if MODELS[name][0] != "Llama" else "smollm2") / "tokenizer.json"
    vocab = Tokenizer.from_file(str(tok)).get_vocab_size() + 8
    kinds = [(torch.float32, "auto"), (torch.float32, "q8_0"), (torch.bfloat16, "auto"), (torch.float32, "f16")]
    for dtype, kind in kinds if name in ("llama", "gemma2") else kinds[:2]:
        shutil.rmtree(d, ignore_errors=True)
        model = make(name, d, dtype, vocab)
        shutil.copy(tok, d / "tokenizer.json")
        path = work / "m.gguf"
        path.unlink(missing_ok=True)
        info = json.loads(run("export", "--model", d, "--out", path, "--type", kind, "--json"))
        read_back(f"{name} {info['type']}", path, model)
        rng = np.random.default_rng(7)
        lengths = [BASE] if not MODELS[name][1] else [BASE, EXTENDED]
        for n in lengths:
            ids = [int(x) for x in rng.integers(3, vocab - 8, n)]
            with torch.no_grad():
                want = model(torch.tensor([ids])).logits[0].numpy()
            # a session of the length: longrope chooses its factors by that
            llm = load(path, n)
            llm.eval(ids)
            got = np.array(llm.scores[:n])
            a, b = loss(got, ids), loss(want, ids)
            limit = {"f32": 2e-4, "bf16": 1e-2, "f16": 5e-3, "q8_0": 2e-2}[info["type"]]
            if MODELS[name][0] in ("GPTNeoX", "Gemma2"):
                limit = max(limit, 5e-3)  # ggml's GELU is a table in half precision
            err = np.linalg.norm(got - want) / np.linalg.norm(want)
            say(f"{name} {info['type']}", abs(a - b) <= limit, f"{n} tokens: loss {a:.6f}, transformers {b:.6f}, logits {err:.1e} apart")
            if info["type"] == "f32" and n == lengths[-1]:
                greedy(name, d, llm, model, n)
            llm.close()
            gc.collect()


def greedy(name, d, llm, model, n):
    ids = [int(x) for x in np.random.default_rng(3).integers(3, 500, n - 64)]
    llm.reset()
    got = []
    llm.eval(ids)
    for _ in range(64):
        got.append(int(np.argmax(llm.scores[llm.n_tokens - 1])))
        if len(got) < 64:
            llm.eval([got[-1]])
    with torch.no_grad():
        want = ids
        for _ in range(64):
            want = want + [int(model(torch.tensor([want])).logits[0, -1].argmax())]
    want = want[len(ids):]
    same = next((i for i in range(64) if got[i] != want[i]), 64)
    exact = MODELS[name][0] not in ("GPTNeoX", "Gemma2")  # whose GELU is another
    say(name, same == 64 or not exact, f"{same} of 64 greedy tokens are transformers'")


def judge_tokenizer(name, work, folder):
    texts = json.loads((CASES / "cases.json").read_text())["texts"]
    texts += [(ROOT / f).read_text()[:20000] for f in ("README.md", "docs/data.md")]
    d = work / "tok"
    shutil.rmtree(d, ignore_errors=True)
    d.mkdir()
    for f in folder.glob("tokenizer*"):
        shutil.copy(f, d / f.name)
    own = json.loads((CASES / "cases.json").read_text())
    cfg = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=32, intermediate_size=32, num_hidden_layers=1,
               num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64, vocab_size=1024, rms_norm_eps=1e-5,
               tie_word_embeddings=True, eos_token_id=2)
    if (d / "tokenizer.json").exists():
        tok = Tokenizer.from_file(str(d / "tokenizer.json"))
        encode = lambda s: tok.encode(s).ids
    else:
        tok = encode = None
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**cfg)).save_pretrained(d)
    (d / "config.json").write_text(json.dumps(cfg))
    path = work / "t.gguf"
    path.unlink(missing_ok=True)
    p = subprocess.run([LONGLORA, "export", "--model", d, "--out", path], capture_output=True, text=True)
    if p.returncode != 0:
        return say("tokenizer " + name, p.returncode == 4, "refused: " + p.stderr.strip()[-300:])
    llm = Llama(str(path), vocab_only=True, verbose=False)
    bad = []
    for s in texts:
        got = llm.tokenize(s.encode(), add_bos=True, special=True)
        want = encode(s) if encode else ours(d, s)
        if got != want:
            bad.append((s[:40], got[:12], want[:12]))
    say("tokenizer " + name, not bad or bool(p.stderr), f"{len(texts) - len(bad)} of {len(texts)} texts with equal ids; "
        f"{p.stderr.strip()} {bad[:2]}")
    llm.close()


def ours(d, s):
    work = d / "text.jsonl"
    work.write_text(json.dumps({"text": s}) + "\n")
    if not s:
        return [1]
    (d / "o.bin").unlink(missing_ok=True)
    run("prepare", "--model", d, "--data", work, "--out", d / "o.bin", "--format", "text")
    ids = np.fromfile(d / "o.bin", np.uint16).tolist()
    return ids[:-1]  # without the end of the document


def main():
    with tempfile.TemporaryDirectory() as t:
        work = pathlib.Path(t)
        for name in MODELS:
            if not ONLY or name in ONLY:
                try:
                    judge_model(name, work)
                except Exception as e:
                    say(name, False, f"{type(e).__name__}: {e}")
        for c in sorted(p for p in CASES.iterdir() if p.is_dir()) + [ROOT / "testdata/demo"]:
            if not ONLY or c.name in ONLY or "tokenizers" in ONLY:
                judge_tokenizer(c.name, work, c if c.parent == CASES else c / "model")
    print(f"{len(faults)} faults")
    sys.exit(bool(faults))


main()
