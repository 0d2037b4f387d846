#!/usr/bin/env python3
"""The side-by-side peer: one LongLoRA training step as a user would run it today in PyTorch.

Hugging Face transformers + PEFT, S2-Attn over flash attention, gradient checkpointing, bf16 weights,
AdamW on the LoRA factors, the token embedding and the norms (the paper's recipe). Weights are random
with the real model's shapes, so what it measures is time and memory, not quality.

  python3 peer_hf.py --shape llama2-7b --ctx 8192,16384,32768            # the plain stack
  python3 peer_hf.py --shape llama2-7b --ctx 32768 --tuned               # + torch.compile, chunked cross-entropy, cuDNN attention
  python3 peer_hf.py --shape qwen3-8b --ctx 32768 --tuned --all-linear --rank 16 --frozen-embed
  python3 peer_hf.py --device cpu --threads 2 --shape tiny --ctx 2048,8192  # PyTorch on the CPU, float32

Prints one JSON line per context: seconds a step (median), peak GiB, tokens/s, model FLOP utilisation.
MFU counts the algorithm's own operations, no recomputation: see flops_per_step.
"""
import argparse, json, statistics, sys, time
import torch, torch.nn.functional as F

SHAPES = {  # hidden, intermediate, layers, heads, kv heads, vocab
    "tiny": (256, 688, 4, 8, 8, 32000),
    "llama2-7b": (4096, 11008, 32, 32, 32, 32000),
    "llama2-13b": (5120, 13824, 40, 40, 40, 32000),
    "llama3-8b": (4096, 14336, 32, 32, 8, 128256),
    "llama2-70b": (8192, 28672, 80, 64, 8, 32000),
    "mistral-7b": (4096, 14336, 32, 32, 8, 32768),
    "qwen2.5-7b": (3584, 18944, 28, 28, 4, 152064),
    "qwen3-8b": (4096, 12288, 36, 32, 8, 151936),
}
FAMILIES = {"mistral-7b": "Mistral", "qwen2.5-7b": "Qwen2", "qwen3-8b": "Qwen3"}  # transformers' names; Llama elsewhere

def flops_per_step(shape, n, groups, train_embed=True):
    """Operations one optimizer step needs on one sequence of n tokens, frozen base weights.

    Forward 2*P per token and backward 2*P per token (input gradients only: frozen weights need none),
    P the parameters of the linear layers and the output head; attention forward 4*d*keys per query and
    head, backward 2.5 times that, keys = causal half of a group. LoRA's own terms are left out (<1%).
    """
    h, f, l, nh, nkv, v = SHAPES[shape]
    hd = h // nh
    p = l * (h * h * 2 + h * nkv * hd * 2 + 3 * h * f) + h * v
    linear = 4.0 * p * n
    keys = (n // groups) / 2
    attn = l * nh * n * keys * 4 * hd * 3.5
    return linear + attn

def s2_attention(groups, backend):
    from torch.nn.attention import SDPBackend, sdpa_kernel
    back = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION,
            "cpu": [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]}[backend]
    def fn(module, q, k, v, attention_mask=None, scaling=None, dropout=0.0, **kw):
        b, h, n, d = q.shape
        g = n // groups
        if k.shape[1] != h:
            r = h // k.shape[1]
            k, v = k.repeat_interleave(r, 1), v.repeat_interleave(r, 1)
        def shift(x):
            x = torch.cat((x[:, : h // 2], x[:, h // 2 :].roll(-(g // 2), 2)), 1)
            return x.transpose(1, 2).reshape(b * groups, g, h, d).transpose(1, 2)
        if groups > 1:
            q, k, v = shift(q), shift(k), shift(v)
        with sdpa_kernel(back):
            o = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling)
        o = o.transpose(1, 2).reshape(b, n, h, d)
        if groups > 1:
            o = torch.cat((o[:, :, : h // 2], o[:, :, h // 2 :].roll(g // 2, 1)), 2)
        return o, None
    return fn

def chunked_ce(hidden, weight, labels, chunk=2048):
    from torch.utils.checkpoint import checkpoint
    def part(hs, y):
        return F.cross_entropy((hs @ weight.t()).float(), y, reduction="sum")
    tot = hidden.new_zeros((), dtype=torch.float32)
    hs, y = hidden[:, :-1].reshape(-1, hidden.shape[-1]), labels[:, 1:].reshape(-1)
    for i in range(0, hs.shape[0], chunk):
        tot = tot + checkpoint(part, hs[i : i + chunk], y[i : i + chunk], use_reentrant=False)
    return tot / y.numel()

def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--shape", default="llama2-7b", choices=SHAPES)
    ap.add_argument("--ctx", default="8192")
    ap.add_argument("--groups", type=int, default=4, help="1: full attention")
    ap.add_argument("--steps", type=int, default=4)
    ap.add_argument("--warmup", type=int, default=2)
    ap.add_argument("--attn", default="flash", choices=["flash", "cudnn"])
    ap.add_argument("--tuned", action="store_true")
    ap.add_argument("--rank", type=int, default=8)
    ap.add_argument("--batch", type=int, default=1, help="sequences a step")
    ap.add_argument("--all-linear", action="store_true", help="factors on every linear layer of the blocks, not attention's alone")
    ap.add_argument("--frozen-embed", action="store_true")
    ap.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help="cpu: float32, PyTorch's own CPU attention")
    ap.add_argument("--threads", type=int, default=0)
    a = ap.parse_args()
    cpu = a.device == "cpu"
    if a.threads: torch.set_num_threads(a.threads)
    sync = (lambda: None) if cpu else torch.cuda.synchronize
    import transformers
    from transformers import AttentionInterface
    from peft import LoraConfig, get_peft_model
    AttentionInterface.register("s2", s2_attention(a.groups, "cpu" if cpu else "cudnn" if a.tuned else a.attn))
    try:
        from transformers import AttentionMaskInterface
        AttentionMaskInterface.register("s2", lambda *p, **k: None)
    except ImportError:
        pass
    h, f, l, nh, nkv, v = SHAPES[a.shape]
    ctxs = [int(c) for c in a.ctx.split(",")]
    family = FAMILIES.get(a.shape, "Llama")
    plain = dict(sliding_window=None) if family == "Mistral" else dict(head_dim=h // nh) if family == "Qwen3" else {}
    cfg = getattr(transformers, family + "Config")(hidden_size=h, intermediate_size=f, num_hidden_layers=l, num_attention_heads=nh,
                      num_key_value_heads=nkv, vocab_size=v, max_position_embeddings=max(ctxs),
                      rope_scaling={"rope_type": "linear", "factor": max(1.0, max(ctxs) / 4096)},
                      tie_word_embeddings=False, use_cache=False, **plain)
    cfg._attn_implementation = "s2"
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float32 if cpu else torch.bfloat16)
    with torch.device(a.device):
        model = getattr(transformers, family + "ForCausalLM")(cfg)
    torch.set_default_dtype(torch.float32)
    model.config._attn_implementation = "s2"
    targets = ["q_proj", "k_proj", "v_proj", "o_proj"] + ["gate_proj", "up_proj", "down_proj"] * a.all_linear
    model = get_peft_model(model, LoraConfig(r=a.rank, lora_alpha=2 * a.rank, lora_dropout=0.0, bias="none",
                           task_type="CAUSAL_LM", target_modules=targets))
    for name, p in model.named_parameters():
        if "embed" in name and not a.frozen_embed or "norm" in name:
            p.requires_grad_()
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    if a.tuned:
        for layer in model.base_model.model.model.layers:
            layer.compile()
    params = [p for p in model.parameters() if p.requires_grad]
    opt = torch.optim.AdamW(params, lr=2e-5, weight_decay=0.0, fused=True)
    name = f"cpu, {torch.get_num_threads()} threads" if cpu else torch.cuda.get_device_name()
    for n in ctxs:
        try:
            if not cpu: torch.cuda.reset_peak_memory_stats()
            times = []
            for i in range(a.warmup + a.steps):
                ids = torch.randint(0, v, (a.batch, n), device=a.device)
                sync(); t = time.perf_counter()
                if a.tuned:
                    hid = model.base_model.model.model(input_ids=ids)[0]
                    loss = chunked_ce(hid, model.base_model.model.lm_head.weight, ids)
                else:
                    loss = model(input_ids=ids, labels=ids).loss
                loss.backward()
                torch.nn.utils.clip_grad_norm_(params, 1.0)
                opt.step(); opt.zero_grad(set_to_none=True)
                sync()
                if i >= a.warmup:
                    times.append(time.perf_counter() - t)
            s = statistics.median(times)
            fl = a.batch * flops_per_step(a.shape, n, a.groups)
            print(json.dumps(dict(peer="tuned" if a.tuned else "hf", attn=a.attn, shape=a.shape, ctx=n, batch=a.batch, groups=a.groups,
                  s_per_step=round(s, 4), spread=[round(min(times), 4), round(max(times), 4)],
                  tok_per_s=round(a.batch * n / s), peak_gib=round((__import__("resource").getrusage(0).ru_maxrss / 2**20) if cpu else torch.cuda.max_memory_allocated() / 2**30, 2),
                  reserved_gib=0 if cpu else round(torch.cuda.max_memory_reserved() / 2**30, 2),
                  tflops=round(fl / s / 1e12, 4 if cpu else 1), loss=round(loss.item(), 3), device=name,
                  torch=torch.__version__, transformers=transformers.__version__)), flush=True)
            del loss
        except torch.cuda.OutOfMemoryError as e:
            print(json.dumps(dict(peer="tuned" if a.tuned else "hf", shape=a.shape, ctx=n, groups=a.groups, oom=True)), flush=True)
            opt.zero_grad(set_to_none=True); loss = None; torch.cuda.empty_cache()

if __name__ == "__main__":
    main()
