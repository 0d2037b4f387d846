#!/usr/bin/env python3
"""Generating on one GPU, longlora and transformers one after the other in one run: a long prompt, then tokens one by one.

  python3 scripts/bench-generate.py bin/longlora-cuda --prompt 32768 --tokens 128
  python3 scripts/bench-generate.py bin/longlora --device cpu --shape tiny --prompt 512 --tokens 16    # whether it works

A checkpoint of a named shape with random weights is written to a temporary folder, which needs its size twice over (of
memory, in /dev/shm). transformers generates with its static cache, whose decoding step it compiles; its prompt is also
read with the dynamic cache, and the faster counts. Each side is warmed up by a whole answer; then the median of --tries.
With random weights the best tokens lie close together, so ids part early; therefore transformers also reads the prompt with
our answer behind it, and says how far below its own best token each of ours lies there.
"""
import argparse, json, os, pathlib, shutil, statistics, subprocess, sys, tempfile, time

SHAPES = {  # hidden, intermediate, layers, heads, kv heads, vocab
    "tiny": (256, 688, 4, 8, 8, 4096),
    "llama2-7b": (4096, 11008, 32, 32, 32, 32000),
    "llama3-8b": (4096, 14336, 32, 32, 8, 128256),
}


def byte_tokenizer(vocab):
    """One token a byte of ASCII text; the other ids have names but no text makes them."""
    letters = [chr(c) for c in range(33, 127)] + ["Ġ", "Ċ"]
    names = letters + [f"<{i}>" for i in range(len(letters), vocab)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": level,
            "post_processor": None, "decoder": level, "model": {"type": "BPE", "dropout": None, "unk_token": None,
            "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "ignore_merges": False, "vocab": {n: i for i, n in enumerate(names)}, "merges": []}}


def make(folder, a):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    h, f, l, nh, nkv, v = SHAPES[a.shape]
    cfg = LlamaConfig(hidden_size=h, intermediate_size=f, num_hidden_layers=l, num_attention_heads=nh, num_key_value_heads=nkv,
                      vocab_size=v, max_position_embeddings=a.prompt + 4096, tie_word_embeddings=False,
                      bos_token_id=None, eos_token_id=None)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float32 if a.device == "cpu" else torch.bfloat16)
    with torch.device(a.device):
        model = LlamaForCausalLM(cfg).eval()
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(byte_tokenizer(v)))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    return model


def ours(folder, a, text):
    """The ids of one answer, then prompt and rate of answers of one process, the first of them not counted."""
    def run(*more):
        p = subprocess.run([a.longlora, "generate", "--device", a.device, "--model", folder, "--max-tokens", str(a.tokens), "--json",
                            *more], stdout=subprocess.PIPE, check=True)
        return json.loads(p.stdout)
    (folder / "prompt.txt").write_text(text)
    first = run("--prompt-file", str(folder / "prompt.txt"))
    # 139 is what the template adds; a short prompt at the end shows what weights and launches take without a long cache
    asked = [{"messages": [{"role": "user", "content": text[:n]}]} for n in [a.prompt - 139] * (a.tries + 1) + [100]]
    (folder / "asked.jsonl").write_text("".join(json.dumps(x) + "\n" for x in asked))
    rows = run("--messages", str(folder / "asked.jsonl"), "--template", "alpaca")["results"]
    print(f"longlora, cold: prompt of {first['prompt_tokens']} in {first['prefill_s']:.3f} s, {first['tok_per_s']:.1f} tok/s", flush=True)
    for r in rows:
        print(f"longlora: prompt of {r['prompt_tokens']} in {r['prefill_s']:.3f} s, {r['tokens']} tokens, {r['tok_per_s']:.1f} tok/s", flush=True)
    warm = [r for r in rows[1:-1] if r["tokens"] > 1]
    return first["ids"], rows[0]["prompt_tokens"], [r["prefill_s"] for r in warm], [r["tok_per_s"] for r in warm]


def theirs(model, a, ids, n):
    import torch
    if a.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    sync = torch.cuda.synchronize if a.device != "cpu" else lambda: None
    x = torch.tensor([ids[:n]], device=a.device)

    def go(new, x=x, **more):
        sync()
        begun = time.perf_counter()
        with torch.no_grad():
            y = model.generate(x, attention_mask=torch.ones_like(x), max_new_tokens=new, min_new_tokens=new, do_sample=False,
                               pad_token_id=0, **more)
        sync()
        return time.perf_counter() - begun, y[0, x.shape[1]:].tolist()

    out = {}
    for kind in ("dynamic", "static"):
        more = {"cache_implementation": "static"} if kind == "static" else {}
        try:
            if kind == "static":
                begun = time.perf_counter()
                _, out["ids"] = go(a.tokens, x=torch.tensor([ids], device=a.device), **more)  # compiles
                go(a.tokens, **more)
                print(f"transformers {kind}: warmed up in {time.perf_counter() - begun:.0f} s", flush=True)
                whole = [go(a.tokens, **more)[0] for _ in range(a.tries)]
            go(1, **more)
            out[kind] = [go(1, **more)[0] for _ in range(a.tries)]
            if kind == "static":
                first = statistics.median(out[kind])
                out["rate"] = [(a.tokens - 1) / (w - first) for w in whole]
                print(f"transformers: {a.tokens} tokens in {', '.join(f'{w:.3f}' for w in whole)} s, prompt with them, "
                      f"{', '.join(f'{r:.1f}' for r in out['rate'])} tok/s", flush=True)
            print(f"transformers {kind}: prompt of {n} in {', '.join(f'{s:.3f}' for s in out[kind])} s", flush=True)
        except Exception as e:  # the other kind still says something
            print(f"transformers {kind}: {type(e).__name__}: {str(e)[:500]}", flush=True)
    if a.device != "cpu":
        print(f"transformers: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB at most", flush=True)
    return out


def judged(model, ids, mine):
    """How many of our tokens are transformers' best ones after the same tokens, and by how much others miss that."""
    import torch
    x = torch.tensor([ids + mine], device=model.device)
    with torch.no_grad():
        z = model(x[:, :-1], logits_to_keep=len(mine)).logits[0].float()
    below = z.max(-1).values - z[torch.arange(len(mine)), torch.tensor(mine)]
    return {"best_of_theirs": int((below == 0).sum()), "below_theirs_most": float(below.max()), "logits_std": float(z.std())}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("longlora")
    p.add_argument("--shape", default="llama2-7b", choices=SHAPES)
    p.add_argument("--prompt", type=int, default=32768)
    p.add_argument("--tokens", type=int, default=128)
    p.add_argument("--tries", type=int, default=3)
    p.add_argument("--device", default="cuda")
    a = p.parse_args()
    a.longlora = os.path.abspath(a.longlora)
    import torch, transformers
    chip = torch.cuda.get_device_name() if a.device != "cpu" else "CPU"
    print(f"{chip}, torch {torch.__version__}, transformers {transformers.__version__}, {a.shape}", flush=True)
    shm = pathlib.Path("/dev/shm")
    folder = pathlib.Path(tempfile.mkdtemp(dir=shm if shutil.disk_usage(shm).free > 40e9 else None))
    try:
        model = make(folder, a)
        letters = "abcdefghijklmnopqrstuvwxyz     ,.;:!?ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
        draw = torch.Generator().manual_seed(1)
        text = "".join(letters[i] for i in torch.randint(len(letters), (a.prompt,), generator=draw)).strip()
        text += "." * (a.prompt - len(text))
        vocab = byte_tokenizer(256)["model"]["vocab"]
        ids = [vocab["Ġ" if c == " " else c] for c in text]
        mine, n, prefill, rate = ours(folder, a, text)
        other = theirs(model, a, ids, n)
        agree = judged(model, ids, mine)
    finally:
        shutil.rmtree(folder)
    med = statistics.median
    result = {"chip": chip, "shape": a.shape, "prompt": n, "tokens": a.tokens, "longlora_prefill_s": med(prefill), "longlora_tok_per_s": med(rate),
              "hf_prefill_dynamic_s": med(other["dynamic"]) if "dynamic" in other else None,
              "hf_prefill_static_s": med(other["static"]) if "static" in other else None,
              "hf_tok_per_s": med(other["rate"]) if "rate" in other else None,
              "same_ids": next((i for i, (x, y) in enumerate(zip(mine, other.get("ids", []))) if x != y), min(len(mine), len(other.get("ids", []))))}
    print(json.dumps(result | agree))


main()
